"""What serves every op and knows none: contracts, geometry, exact sums, compilation."""
