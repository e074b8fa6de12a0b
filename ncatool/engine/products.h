/* Vectors as wide as the processor's, and matrix products that keep their sums in registers. */
#ifndef PRODUCTS_H
#define PRODUCTS_H
#include <stddef.h>
#include <stdint.h>

#if defined(__AVX512F__)
#define LANES 16
#define MAX_COLUMNS 4
#elif defined(__AVX__)
#define LANES 8
#define MAX_COLUMNS 2
#elif defined(__aarch64__)
#define LANES 4
#define MAX_COLUMNS 4
#else
#define LANES 4
#define MAX_COLUMNS 2
#endif
#define MAX_ROWS 6 /* with MAX_COLUMNS vectors each, the accumulators fill the registers */

typedef float vec __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int32_t ivec __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef ptrdiff_t offset_t;
#define INLINE static inline __attribute__((always_inline))
#define AT(pointer) (*(vec *)(pointer))

/* c[i][j] = init[j] + sum over k of a(i, k) b[k][j], for R rows and C vectors; without init, adds to c. */
INLINE void multiply_tile(const int R, const int C, int depth, const float *a, offset_t a_row, offset_t a_step,
                          const float *b, offset_t b_step, float *c, offset_t c_row, const float *init, int relu) {
    vec sum[MAX_ROWS][MAX_COLUMNS], zero = {0};
    for (int i = 0; i < R; i++)
        for (int j = 0; j < C; j++) sum[i][j] = AT((init ? init : c + i * c_row) + j * LANES);
    for (int k = 0; k < depth; k++) {
        vec row[MAX_COLUMNS];
        for (int j = 0; j < C; j++) row[j] = AT(b + k * b_step + j * LANES);
        for (int i = 0; i < R; i++) {
            float scalar = a[i * a_row + k * a_step];
            for (int j = 0; j < C; j++) sum[i][j] += scalar * row[j];
        }
    }
    for (int i = 0; i < R; i++)
        for (int j = 0; j < C; j++)
            AT(c + i * c_row + j * LANES) = relu ? (vec)((ivec)sum[i][j] & (sum[i][j] > zero)) : sum[i][j];
}

#define TILE(R, C) \
    case (R) * 8 + (C): multiply_tile(R, C, depth, a, a_row, a_step, b, b_step, c, c_row, init, relu); break;
#define TILES(C) TILE(1, C) TILE(2, C) TILE(3, C) TILE(4, C) TILE(5, C) TILE(6, C)

static void multiply_any_tile(int rows, int columns, int depth, const float *a, offset_t a_row, offset_t a_step,
                              const float *b, offset_t b_step, float *c, offset_t c_row, const float *init, int relu) {
    switch (rows * 8 + columns) {
        TILES(1) TILES(2)
#if MAX_COLUMNS > 2
        TILES(3) TILES(4)
#endif
    }
}

/* The same for matrices of any size, tile by tile; c has rows of `width`, a multiple of LANES. */
static void multiply(int rows, int width, int depth, const float *a, offset_t a_row, offset_t a_step,
                     const float *b, float *c, const float *init, int relu) {
    for (int j = 0; j < width; j += MAX_COLUMNS * LANES) {
        int columns = (width - j) / LANES < MAX_COLUMNS ? (width - j) / LANES : MAX_COLUMNS;
        for (int i = 0; i < rows; i += MAX_ROWS)
            multiply_any_tile(rows - i < MAX_ROWS ? rows - i : MAX_ROWS, columns, depth, a + i * a_row, a_row,
                              a_step, b + j, width, c + (offset_t)i * width + j, width, init ? init + j : 0, relu);
    }
}

/* Adds all rows of `from` to `sum`. */
INLINE void add_rows(int rows, int width, const float *from, float *sum) {
    for (int j = 0; j < width; j += LANES) {
        vec total = AT(sum + j);
        for (int i = 0; i < rows; i++) total += AT(from + (offset_t)i * width + j);
        AT(sum + j) = total;
    }
}

#endif
