/* A window of a JPEG, and no more of it than libjpeg must look at: fused.py compiles this on first use.
 *
 * No header of libjpeg is needed (abi.h), and nothing is linked: `leyden_bind` gets the addresses of its functions. Any
 * warning (data ends early, a code that does not exist) ends the call: libjpeg would go on with grey.
 */
#include "abi.h"

library jpeg;

void leyden_bind(void *const *functions) { memcpy(&jpeg, functions, sizeof jpeg); }

static void fail(decoder *d) {
  context *here = (context *)d->report;
  here->report.format_message(d, here->text);
  longjmp(here->home, 1);
}

static void on_message(decoder *d, int level) {
  if (level < 0 && ((context *)d->report)->strict) fail(d);
}

static void quiet(decoder *d) { (void)d; }

void leyden_report(context *here, char *text) {
  memset(here, 0, sizeof *here);
  jpeg.std_error(&here->report);
  here->report.error_exit = fail;
  here->report.emit_message = on_message;
  here->report.output_message = quiet;
  here->text = text;
}

static void put(byte *to, const byte *from, int width, int channels, int flip) {
  if (!flip) {
    memcpy(to, from, (size_t)width * channels);
    return;
  }
  for (from += (size_t)(width - 1) * channels; width--; to += channels, from -= channels)
    for (int k = 0; k < channels; k++) to[k] = from[k];
}

/* Decodes what `data` holds; here->row is the caller's to free, also after an error. */
static int decode(decoder *d, context *here, const byte *data, size_t size, const int *box, int down, int flip,
                  int channels, byte *out, ptrdiff_t stride) {
  unsigned left = box[1], width = box[3];
  jpeg.create(d, 62, sizeof *d);
  jpeg.mem_src(d, data, size);
  jpeg.read_header(d, 1);
  if (d->precision != 8 || d->stored_as < 1 || d->stored_as > 3) return ELSEWHERE; /* grey, RGB, YCbCr are ours */
  d->wanted_as = channels == 4 ? 7 : 2;
  d->scale_up = 1;
  d->scale_down = down;
  here->row = malloc(((size_t)d->width + 64) * channels);
  if (!here->row) return ELSEWHERE;
  here->strict = 1;
  jpeg.start(d);
  if (box[0] < 0 || box[1] < 0 || box[2] < 1 || box[3] < 1 || box[0] + (long)box[2] > d->out_height ||
      box[1] + (long)box[3] > d->out_width)
    return ELSEWHERE;
  if (width < d->out_width) { /* one column more on each side: colours are interpolated from their neighbours */
    unsigned right = left + width + 1;
    if (left) left--;
    if (right > d->out_width) right = d->out_width;
    width = right - left;
    jpeg.crop_scanline(d, &left, &width);
  }
  if (box[0]) jpeg.skip_scanlines(d, box[0]);
  for (int done = 0; done < box[2]; out += stride) {
    done += jpeg.read_scanlines(d, &here->row, 1);
    put(out, here->row + (size_t)(box[1] - left) * channels, box[3], channels, flip);
  }
  return DONE;
}

/* box: top, left, height, width after scaling by 1/down; out: rows of width * channels bytes, `stride` apart;
 * channels: 3 (RGB) or 4 (RGB and a byte of no meaning); text: room for 200 bytes. ELSEWHERE: not a picture for us. */
int leyden_window(const byte *data, size_t size, const int *box, int down, int flip, int channels, byte *out,
                  ptrdiff_t stride, char *text) {
  decoder d;
  context here;
  int inner[4] = {box[0], box[1], box[2], box[3]};
  byte *part = leyden_cut(data, &size, inner, down);
  int result = CORRUPT;
  leyden_report(&here, text);
  d.report = &here.report;
  if (!setjmp(here.home))
    result = decode(&d, &here, part ? part : data, size, inner, down, flip, channels, out, stride);
  jpeg.destroy(&d);
  free(here.row);
  free(part);
  return result;
}
