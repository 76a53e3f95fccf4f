"""quantref against LiteRT's op resolvers: same model, same inputs, same machine, taking turns in one run."""
