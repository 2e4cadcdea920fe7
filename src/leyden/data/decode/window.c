/* A window of a JPEG, and no more of it than libjpeg must look at: fused.py compiles this on first use.
 *
 * No header of libjpeg is needed: the parts of its ABI 62 that are used are declared here, and jpeg_CreateDecompress
 * refuses a structure of another size. `leyden_bind` gets the addresses of the functions, so nothing is linked either.
 * 64-bit systems only. Any warning (data ends early, a code that does not exist) ends the call: libjpeg would go on
 * with grey.
 */
#include <setjmp.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

typedef unsigned char byte;
typedef struct decoder decoder;

typedef struct {
  void (*error_exit)(decoder *);
  void (*emit_message)(decoder *, int level);
  void (*output_message)(decoder *);
  void (*format_message)(decoder *, char *text);
  void (*reset)(decoder *);
  int code;
  char arguments[80];
  int trace_level;
  long warnings;
  void *tables[4]; /* of messages; two pointers, two pairs of numbers */
} reporter;

struct decoder {
  reporter *report;
  void *memory, *progress, *client;
  int is_decompressor, state;
  void *source;
  unsigned width, height;
  int components, stored_as, wanted_as;
  unsigned scale_up, scale_down;
  double gamma;
  int buffered, raw;
  int dct, fancy, smooth;
  int colormap_options[7];
  unsigned out_width, out_height;
  int out_channels, out_components, rows_at_once, colors;
  void *colormap;
  unsigned row;
  int progress_marks[4];
  void *coefficient_bits, *tables[12];
  int precision;
  void *component_info;
  int progressive, arithmetic;
  byte conditioning[48];
  unsigned restart_interval;
  int saw_jfif;
  byte jfif[8];
  int saw_adobe;
  byte adobe_transform;
  int cosited;
  void *markers;
  int most_h, most_v, least_scaled;
  unsigned mcu_rows;
  void *range_limit;
  int in_scan;
  void *scan_components[4];
  unsigned scan_mcus[2];
  int blocks, membership[10], spectral[4], unread_marker;
  void *modules[11];
};

static struct {
  reporter *(*std_error)(reporter *);
  void (*create)(decoder *, int version, size_t size);
  void (*mem_src)(decoder *, const byte *data, unsigned long size);
  int (*read_header)(decoder *, int require_image);
  int (*start)(decoder *);
  void (*crop_scanline)(decoder *, unsigned *left, unsigned *width);
  unsigned (*skip_scanlines)(decoder *, unsigned rows);
  unsigned (*read_scanlines)(decoder *, byte **rows, unsigned count);
  void (*destroy)(decoder *);
} jpeg;

typedef struct {
  reporter report; /* first: libjpeg hands back a pointer to it */
  jmp_buf home;
  char *text;
  byte *row;
} context;

static void fail(decoder *d) {
  context *here = (context *)d->report;
  d->report->format_message(d, here->text);
  longjmp(here->home, 1);
}

static void on_message(decoder *d, int level) {
  if (level < 0 && ((context *)d->report)->row) fail(d); /* warnings about the header are harmless */
}

static void quiet(decoder *d) { (void)d; }

void leyden_bind(void *const *functions) { memcpy(&jpeg, functions, sizeof jpeg); }

enum { DONE = 0, CORRUPT = 1, ELSEWHERE = 2 };
enum { FLIP = 1, FAST = 2 };

static void put(byte *to, const byte *from, int width, int channels, int flip) {
  if (!flip) {
    memcpy(to, from, (size_t)width * channels);
    return;
  }
  for (from += (size_t)(width - 1) * channels; width--; to += channels, from -= channels)
    for (int k = 0; k < channels; k++) to[k] = from[k];
}

/* box: top, left, height, width after scaling by 1/down; out: rows of width * channels bytes, `stride` apart;
 * channels: 3 (RGB) or 4 (RGB and a byte of no meaning); text: room for 200 bytes. ELSEWHERE: not a picture for us. */
int leyden_window(const byte *data, size_t size, const int *box, int down, int flags, int channels, byte *out,
                  ptrdiff_t stride, char *text) {
  decoder d;
  context here;
  unsigned left = box[1], width = box[3];
  memset(&here, 0, sizeof here);
  d.report = jpeg.std_error(&here.report);
  here.report.error_exit = fail;
  here.report.emit_message = on_message;
  here.report.output_message = quiet;
  here.text = text;
  if (setjmp(here.home)) {
    free(here.row);
    jpeg.destroy(&d);
    return CORRUPT;
  }
  jpeg.create(&d, 62, sizeof d);
  jpeg.mem_src(&d, data, size);
  jpeg.read_header(&d, 1);
  if (d.precision != 8 || (d.stored_as != 1 && d.stored_as != 2 && d.stored_as != 3)) { /* grey, RGB, YCbCr */
    jpeg.destroy(&d);
    return ELSEWHERE;
  }
  d.wanted_as = channels == 4 ? 7 : 2;
  d.scale_up = 1;
  d.scale_down = down;
  if (flags & FAST) d.dct = 1, d.fancy = 0;
  here.row = malloc(((size_t)d.width + 64) * channels);
  if (!here.row) {
    jpeg.destroy(&d);
    return ELSEWHERE;
  }
  jpeg.start(&d);
  if (box[0] < 0 || box[1] < 0 || box[2] < 1 || box[3] < 1 || box[0] + (long)box[2] > d.out_height ||
      box[1] + (long)box[3] > d.out_width) {
    free(here.row);
    jpeg.destroy(&d);
    return ELSEWHERE;
  }
  if (width < d.out_width) { /* one column more on each side: colours are interpolated from their neighbours */
    unsigned right = left + width + 1;
    if (left) left--;
    if (right > d.out_width) right = d.out_width;
    width = right - left;
    jpeg.crop_scanline(&d, &left, &width);
  }
  if (box[0]) jpeg.skip_scanlines(&d, box[0]);
  for (int done = 0; done < box[2]; out += stride) {
    byte *row = here.row;
    done += jpeg.read_scanlines(&d, &row, 1);
    put(out, row + (size_t)(box[1] - left) * channels, box[3], channels, flags & FLIP);
  }
  free(here.row);
  jpeg.destroy(&d);
  return DONE;
}
