/* The parts of libjpeg's ABI 62 that are used, for 64-bit systems; libjpeg refuses structures of another size. */
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

typedef struct {
  void *common[4];
  int numbers[2];
  void *destination;
  char choices[216];
  int optimize, cosited, smoothing, dct;
  unsigned restart_interval;
  char rest[236];
} encoder;

typedef struct {
  reporter *(*std_error)(reporter *);
  void (*create)(decoder *, int version, size_t size);
  void (*mem_src)(decoder *, const byte *data, unsigned long size);
  int (*read_header)(decoder *, int require_image);
  int (*start)(decoder *);
  void (*crop_scanline)(decoder *, unsigned *left, unsigned *width);
  unsigned (*skip_scanlines)(decoder *, unsigned rows);
  unsigned (*read_scanlines)(decoder *, byte **rows, unsigned count);
  void (*destroy)(decoder *);
  void **(*read_coefficients)(decoder *);
  void (*create_encoder)(encoder *, int version, size_t size);
  void (*mem_dest)(encoder *, byte **data, unsigned long *size);
  void (*copy_parameters)(decoder *, encoder *);
  void (*write_coefficients)(encoder *, void **coefficients);
  void (*finish_encoder)(encoder *);
  void (*destroy_encoder)(encoder *);
} library;

extern library jpeg; /* bound by leyden_bind */

typedef struct {
  reporter report; /* first: libjpeg hands back a pointer to it */
  jmp_buf home;
  char *text;
  byte *row;
  int strict; /* warnings are errors: not while the header is read */
} context;

void leyden_report(context *, char *text);

/* A JPEG of its own with just the parts around the window, if restart markers let it be cut out of the bytes: NULL if
 * not, else for `free`, and *size, box[0] and box[1] become those of it. */
byte *leyden_cut(const byte *data, size_t *size, int *box, int down);

enum { DONE = 0, CORRUPT = 1, ELSEWHERE = 2 };

