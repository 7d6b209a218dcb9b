/* tests/lib/prometheus.h - reads Prometheus' text format 0.0.4 strictly: more so than Prometheus, which forgives. */
#ifndef MCP_TESTS_PROMETHEUS_H
#define MCP_TESTS_PROMETHEUS_H

#include "common/util.h"

/* NULL: it is well formed. Else what is wrong with which line, until the next call: names, HELP and TYPE once before
 * the samples of a family, which stand together; labels and numbers; no sample twice; histograms that rise up to their
 * +Inf, which is their count. */
const char *prometheus_check(const char *text);
/* The value of a sample, named with its labels as it is written: a{b="c"}. -1: there is none. */
double prometheus_value(const char *text, const char *sample);

#endif
