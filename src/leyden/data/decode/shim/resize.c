/* Antialiased bilinear resizing, to the bit what Pillow's `resize(…, BILINEAR, box)` gives.
 *
 * Each output pixel is a weighted mean under a triangle as wide as two output pixels (two input pixels where it grows);
 * weights are rounded to 22 binary places, columns come before rows, and between them values are rounded to 8 bits.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned char byte;
typedef int four __attribute__((vector_size(16)));

#if defined(__x86_64__) && defined(__GLIBC__)
#define FOR_EACH_CPU __attribute__((target_clones("avx2", "default"))) /* chosen when the code is loaded */
#else
#define FOR_EACH_CPU
#endif
enum { PLACES = 22, HALF = 1 << (PLACES - 1) };

typedef struct {
  int *first, *weights; /* of each output pixel: `span` weights, from input pixel `first` on */
  int span;
} taps;

/* Where to look and how much it counts, for `out` pixels made of start..stop of `size`. 0: no memory. */
static int prepare(taps *t, int size, double start, double stop, int out) {
  double step = (stop - start) / out, wide = step > 1 ? step : 1;
  int most = (int)ceil(2 * wide);
  t->span = most < size ? most : size; /* the same for all: a loop of one length is foreseen by the processor */
  t->first = calloc(out * (1 + (size_t)t->span), sizeof(int));
  double *share = malloc(sizeof(double) * most);
  if (t->first && share) {
    t->weights = t->first + out;
    for (int i = 0; i < out; i++) {
      double center = start + (i + 0.5) * step, sum = 0;
      int from = center - wide + 0.5 < 0 ? 0 : (int)(center - wide + 0.5), until = (int)(center + wide + 0.5);
      if (until > size) until = size;
      if (until > from + most) until = from + most; /* by rounding; what is left out weighs nothing */
      for (int k = 0; k < until - from; k++) {
        double far = fabs((k + from - center + 0.5) * (1 / wide));
        sum += share[k] = far < 1 ? 1 - far : 0;
      }
      t->first[i] = from + t->span > size ? size - t->span : from;
      int *weight = t->weights + (size_t)i * t->span + (from - t->first[i]);
      for (int k = 0; k < until - from; k++) weight[k] = (int)(0.5 + share[k] / sum * (1 << PLACES));
    }
  }
  free(share);
  return t->weights != NULL;
}

/* Four bytes a pixel in, three out. */
FOR_EACH_CPU static void columns(const byte *in, byte *to, int out, const taps *t) {
  const int *weight = t->weights;
  for (int i = 0; i < out; i++, to += 3, weight += t->span) {
    const byte *at = in + 4 * (size_t)t->first[i];
    four sum = {HALF, HALF, HALF, HALF};
    for (int k = 0; k < t->span; k++, at += 4) sum += (four){at[0], at[1], at[2], at[3]} * weight[k];
    sum >>= PLACES;
    to[0] = sum[0], to[1] = sum[1], to[2] = sum[2];
  }
}

FOR_EACH_CPU static void add(int *sum, const byte *row, int weight, int length) {
  for (int i = 0; i < length; i++) sum[i] += row[i] * weight;
}

FOR_EACH_CPU static void store(byte *to, const int *sum, int length) {
  for (int i = 0; i < length; i++) to[i] = sum[i] >> PLACES;
}

/* in: height x width pixels of 4 bytes; box: left, top, right, bottom; out: out_height x out_width pixels of 3 bytes.
 * 0: done; else no memory. */
int leyden_resize(const byte *in, int height, int width, const double *box, byte *out, int out_height, int out_width) {
  taps across = {0}, down = {0};
  int length = 3 * out_width, result = 1;
  byte *narrow = NULL;
  int *sum = malloc(sizeof(int) * length);
  if (!sum || !prepare(&across, width, box[0], box[2], out_width) || !prepare(&down, height, box[1], box[3], out_height))
    goto end;
  int begin = down.first[0], rows = down.first[out_height - 1] + down.span - begin;
  narrow = malloc((size_t)rows * length);
  if (!narrow) goto end;
  for (int y = 0; y < rows; y++)
    columns(in + (size_t)(begin + y) * width * 4, narrow + (size_t)y * length, out_width, &across);
  for (int y = 0; y < out_height; y++) {
    const int *weight = down.weights + (size_t)y * down.span;
    for (int i = 0; i < length; i++) sum[i] = HALF;
    for (int k = 0; k < down.span; k++)
      if (weight[k]) add(sum, narrow + (size_t)(down.first[y] + k - begin) * length, weight[k], length);
    store(out + (size_t)y * length, sum, length);
  }
  result = 0;
end:
  free(narrow);
  free(sum);
  free(across.first);
  free(down.first);
  return result;
}
