/* The same coefficients written again, with a restart marker every few blocks and codes made for them. */
#include "abi.h"

void leyden_free(void *memory) { free(memory); }

/* The JPEG in *out is for leyden_free. text: room for 200 bytes. */
int leyden_tile(const byte *data, size_t size, unsigned every, byte **out, unsigned long *out_size, char *text) {
  decoder d;
  encoder e;
  context here;
  volatile int result = CORRUPT, encoding = 0;
  leyden_report(&here, text);
  *out = NULL;
  d.report = &here.report;
  if (!setjmp(here.home)) {
    jpeg.create(&d, 62, sizeof d);
    e.common[0] = &here.report;
    jpeg.create_encoder(&e, 62, sizeof e);
    encoding = 1;
    jpeg.mem_src(&d, data, size);
    jpeg.read_header(&d, 1);
    here.strict = 1;
    void **coefficients = jpeg.read_coefficients(&d);
    jpeg.mem_dest(&e, out, out_size);
    jpeg.copy_parameters(&d, &e);
    e.optimize = 1;
    e.restart_interval = every;
    jpeg.write_coefficients(&e, coefficients);
    jpeg.finish_encoder(&e);
    result = DONE;
  }
  if (encoding) jpeg.destroy_encoder(&e);
  jpeg.destroy(&d);
  if (result != DONE) *out = NULL; /* libjpeg may have freed it */
  return result;
}
