/* An int8 convolution in plain C, and a harness that runs it over a golden-vector suite.
 *
 *     quantref vectors examples/c/plan.toml -o suite
 *     cc -std=c99 -Wall -Wextra -Isuite examples/c/convolution.c -o convolution && ./convolution
 *
 * The headers of the suite hold everything: codes, weights, biases, multipliers, shifts, and the expected codes. To try
 * a kernel of your own, let run() call it instead. WRONG_* (try -DWRONG_PADDING) are mistakes that the suite finds.
 */
#include <stdio.h>
#include <string.h>

#include "suite.h"

struct axis {
    int size, kernel, stride, dilation, output, before;
};

struct convolution {
    struct axis height, width;
    int batch, in_channels, out_channels, filter_channels;
    int32_t input_zero_point, output_zero_point, activation_min, activation_max;
    const int64_t *multiplier, *shift;
    int multipliers; /* one, or one a channel */
};

/* The high half of twice the product of two 32-bit numbers, rounded to nearest, ties up. */
static int32_t doubling_high_multiply(int32_t a, int32_t b)
{
    if (a == INT32_MIN && b == INT32_MIN)
        return INT32_MAX;
    int64_t product = (int64_t)a * b;
    int64_t half = product >= 0 ? 1LL << 30 : 1 - (1LL << 30);
    return (int32_t)((product + half) / (1LL << 31));
}

/* Divide by a power of two, rounded to nearest, ties away from zero. */
static int32_t shift_right(int32_t x, int count)
{
    int64_t half = count > 0 ? 1LL << (count - 1) : 0;
#ifdef WRONG_TIES
    return (int32_t)((x + half) >> count);
#else
    return (int32_t)((x + half - (count > 0 && x < 0)) >> count);
#endif
}

static int32_t rescale(int32_t accumulator, int32_t multiplier, int shift)
{
    int left = shift > 0 ? shift : 0, right = shift > 0 ? 0 : -shift;
#ifdef WRONG_SHIFT
    right = right > 0 ? right - 1 : 0;
#endif
    int32_t shifted = (int32_t)((uint32_t)accumulator << left);
    return shift_right(doubling_high_multiply(shifted, multiplier), right);
}

static int32_t accumulate(const struct convolution *c, const int8_t *x, const int8_t *filter, int n, int y0, int x0,
                          int channel)
{
    /* Channels of a group see their own slice of the input. Sums wrap around, as they do in 32-bit registers. */
    int group = channel / (c->out_channels / (c->in_channels / c->filter_channels));
    uint32_t sum = 0;
    for (int ky = 0; ky < c->height.kernel; ky++)
        for (int kx = 0; kx < c->width.kernel; kx++) {
            int y = y0 + ky * c->height.dilation, z = x0 + kx * c->width.dilation;
            int outside = y < 0 || y >= c->height.size || z < 0 || z >= c->width.size;
#ifndef WRONG_PADDING
            if (outside)
                continue; /* the border is the zero point: it adds nothing */
#endif
            for (int i = 0; i < c->filter_channels; i++) {
                int64_t place = ((int64_t)(n * c->height.size + y) * c->width.size + z) * c->in_channels;
                int32_t code = outside ? 0 : x[place + group * c->filter_channels + i];
                int32_t weight = filter[((channel * c->height.kernel + ky) * c->width.kernel + kx) * c->filter_channels + i];
                sum += (uint32_t)(weight * (code - c->input_zero_point));
            }
        }
    return (int32_t)sum;
}

static void convolve(const struct convolution *c, const int8_t *x, const int8_t *filter, const int32_t *bias, int8_t *out)
{
    for (int n = 0; n < c->batch; n++)
        for (int y = 0; y < c->height.output; y++)
            for (int z = 0; z < c->width.output; z++)
                for (int channel = 0; channel < c->out_channels; channel++) {
                    int y0 = y * c->height.stride - c->height.before, x0 = z * c->width.stride - c->width.before;
                    uint32_t sum = (uint32_t)accumulate(c, x, filter, n, y0, x0, channel) + (uint32_t)bias[channel];
                    int k = c->multipliers > 1 ? channel : 0;
                    int32_t code = rescale((int32_t)sum, (int32_t)c->multiplier[k], (int)c->shift[k]);
                    code = (int32_t)((uint32_t)code + (uint32_t)c->output_zero_point);
#ifndef WRONG_SATURATION
                    code = code < c->activation_min ? c->activation_min : code;
                    code = code > c->activation_max ? c->activation_max : code;
#endif
                    *out++ = (int8_t)code;
                }
}

static int run(const char *name, const struct convolution *c, const int8_t *x, const int8_t *filter,
               const int32_t *bias, const int8_t *expected, int count)
{
    static int8_t out[1 << 16];
    if (count > (int)sizeof out || count != c->batch * c->height.output * c->width.output * c->out_channels) {
        printf("%s: %d elements do not fit\n", name, count);
        return 1;
    }
    convolve(c, x, filter, bias, out);
    for (int i = 0; i < count; i++)
        if (out[i] != expected[i]) {
            printf("%s: element %d: expected %d, found %d\n", name, i, expected[i], out[i]);
            return 1;
        }
    return 0;
}

#define AXIS(ID, NAME)                                                                                                 \
    {                                                                                                                  \
        (int)ID##_window_##NAME##_size[0], (int)ID##_window_##NAME##_kernel[0], (int)ID##_window_##NAME##_stride[0],   \
            (int)ID##_window_##NAME##_dilation[0], (int)ID##_window_##NAME##_output[0],                                \
            (int)ID##_window_##NAME##_before[0]                                                                        \
    }

#define RUN(ID, N)                                                                                                     \
    {                                                                                                                  \
        struct convolution c = {AXIS(ID, height),                                                                      \
                                AXIS(ID, width),                                                                       \
                                ID##_in0_##N##_shape[0],                                                               \
                                ID##_in0_##N##_shape[3],                                                               \
                                ID##_in1_shape[0],                                                                     \
                                ID##_in1_shape[3],                                                                     \
                                (int32_t)ID##_input_zero_point[0],                                                     \
                                (int32_t)ID##_requantize_zero_point[0],                                                \
                                (int32_t)ID##_requantize_activation_min[0],                                            \
                                (int32_t)ID##_requantize_activation_max[0],                                            \
                                ID##_requantize_factor_multiplier,                                                     \
                                ID##_requantize_factor_shift,                                                          \
                                ID##_requantize_factor_multiplier_count};                                              \
        runs++;                                                                                                        \
        failures += run(#ID ", invocation " #N, &c, ID##_in0_##N, ID##_in1, ID##_in2,                                  \
                        ID##_expected_litert_reference_out0_##N, ID##_expected_litert_reference_out0_##N##_count);     \
    }

int main(void)
{
    int runs = 0, failures = 0;
    QUANTREF_RUNS(RUN)
    printf("%d runs, %d failed\n", runs, failures);
    return failures > 0;
}
