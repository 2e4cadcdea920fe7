/* A window cut out of the compressed bytes.
 *
 * A restart marker every few blocks lets each piece between two of them be decoded alone. Where the pieces end with the
 * rows of blocks, those around a window make up a smaller JPEG: the same tables, another size, and nothing outside of
 * the window is decoded at all. ITU-T T.81: B.2 (markers), A.2 (order of blocks), E.1.4 (restart).
 */
#include "abi.h"

typedef struct {
  size_t frame, scan;          /* where the frame header is; where the first piece begins */
  long width, height;          /* of the picture */
  long block_width, block_height; /* of what one step of the scan covers (an MCU), pixels */
  long every;                  /* steps between markers */
} layout;

static long word(const byte *at) { return at[0] << 8 | at[1]; }

/* Reads the header; copies what a decoder needs of it to `out`. 0: not a picture to cut. */
static size_t header(const byte *data, size_t size, byte *out, layout *found) {
  size_t at = 2, used = 2;
  int components = 0, most_h = 1, most_v = 1;
  if (size < 4 || data[0] != 0xFF || data[1] != 0xD8) return 0;
  out[0] = 0xFF, out[1] = 0xD8;
  while (at + 4 < size && data[at] == 0xFF) {
    int kind = data[at + 1];
    const byte *body = data + at + 4;
    long length = word(data + at + 2) - 2;
    if (kind < 0xC0 || (kind >= 0xD0 && kind <= 0xD9) || length < 2 || at + 4 + length >= size) return 0;
    if (kind == 0xC0 || kind == 0xC1) { /* one pass over the blocks, Huffman codes */
      components = length >= 6 ? body[5] : 0;
      if (found->frame || !components || components > 3 || length < 6 + 3 * components) return 0;
      found->frame = used, found->height = word(body + 1), found->width = word(body + 3);
      for (int i = 0; i < components; i++) {
        int h = body[7 + 3 * i] >> 4, v = body[7 + 3 * i] & 15;
        if (h < 1 || h > 4 || v < 1 || v > 4) return 0;
        if (h > most_h) most_h = h;
        if (v > most_v) most_v = v;
      }
    } else if (kind == 0xDD) {
      found->every = word(body);
    } else if (kind < 0xD0 && kind != 0xC4) { /* frames of other kinds, arithmetic codes */
      return 0;
    }
    if (kind < 0xE0 || kind == 0xE0 || kind == 0xEE) { /* of the notes only JFIF and Adobe say how colours are stored */
      memcpy(out + used, data + at, 4 + length);
      used += 4 + length;
    }
    at += 4 + length;
    if (kind == 0xDA) {
      if (!found->frame || body[0] != components || !found->every || !found->width || !found->height) return 0;
      if (components == 1) most_h = most_v = 1; /* of a single component every block is a step */
      found->block_width = 8 * most_h, found->block_height = 8 * most_v, found->scan = at;
      return used;
    }
  }
  return 0;
}

/* From `at`, where piece `number` begins, to the marker that ends it, or to the end of the data: NULL if another
 * marker comes first. */
static const byte *end_of(const byte *at, const byte *end, long number) {
  while ((at = memchr(at, 0xFF, end - at)) && at + 1 < end) {
    if (at[1] == 0xD0 + (number & 7)) return at;
    if (at[1] == 0xD9) return at;
    if (at[1] != 0) return NULL;
    at += 2;
  }
  return NULL;
}

byte *leyden_cut(const byte *data, size_t *size, int *box, int down) {
  layout all = {0};
  byte *out = malloc(*size + 16), *to = out;
  size_t head = out ? header(data, *size, out, &all) : 0;
  if (!head) goto no;
  long across = (all.width + all.block_width - 1) / all.block_width;
  if (across % all.every) goto no; /* pieces go over the end of a row */
  /* One pixel more on each side: colours are interpolated from their neighbours. */
  long piece_width = all.every * all.block_width, pieces = across / all.every;
  long left = ((long)box[1] - 1) * down, right = ((long)box[1] + box[3] + 1) * down;
  long top = ((long)box[0] - 1) * down, bottom = ((long)box[0] + box[2] + 1) * down;
  if (box[0] < 0 || box[1] < 0 || box[2] < 1 || box[3] < 1) goto no;
  if (left < 0) left = 0;
  if (top < 0) top = 0;
  if (right > all.width) right = all.width;
  if (bottom > all.height) bottom = all.height;
  if (left >= right || top >= bottom) goto no;
  long first = left / piece_width, last = (right - 1) / piece_width; /* pieces of a row */
  long from = top / all.block_height, until = (bottom - 1) / all.block_height; /* rows */
  long rows = (all.height + all.block_height - 1) / all.block_height;
  if (first == 0 && last == pieces - 1 && from == 0 && until == rows - 1) goto no;
  left = first * piece_width, top = from * all.block_height;
  right = last == pieces - 1 ? all.width : (last + 1) * piece_width;
  bottom = until == rows - 1 ? all.height : (until + 1) * all.block_height;

  to += head;
  const byte *at = data + all.scan, *end = data + *size;
  long taken = 0;
  for (long number = 0; number <= until * pieces + last; number++) {
    const byte *stop = end_of(at, end, number);
    if (!stop || (stop[1] == 0xD9 && number != rows * pieces - 1)) goto no; /* libjpeg shall say what is wrong */
    if (number / pieces >= from && number % pieces >= first && number % pieces <= last) {
      if (taken) *to++ = 0xFF, *to++ = 0xD0 + ((taken - 1) & 7);
      memcpy(to, at, stop - at);
      to += stop - at, taken++;
    }
    at = stop + 2;
  }
  *to++ = 0xFF, *to++ = 0xD9;
  byte *sizes = out + all.frame + 5;
  sizes[0] = (bottom - top) >> 8, sizes[1] = (bottom - top) & 255;
  sizes[2] = (right - left) >> 8, sizes[3] = (right - left) & 255;
  box[0] -= top / down, box[1] -= left / down;
  *size = to - out;
  return out;
no:
  free(out);
  return NULL;
}
