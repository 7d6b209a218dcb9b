#include "config.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/err.h"
#include "common/banned.h"

static const struct {
	const char *name, *text;
	int http, rpc;
} table[] = {
#define ERR(name, http, rpc, text) {#name, text, http, rpc},
#include "common/err_tbl.h"
#undef ERR
};

static PRINTF_LIKE(4, 0) int fill(struct err *err, enum err_code code, int sys, const char *fmt, va_list ap)
{
	size_t len;

	if (!err)
		return -1;
	err->code = code;
	err->sys = sys;
	vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	len = strlen(err->msg);
	if (sys)
		snprintf(err->msg + len, sizeof(err->msg) - len, ": %s", strerrordesc_np(sys));
	return -1;
}

int err_set(struct err *err, enum err_code code, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fill(err, code, 0, fmt, ap);
	va_end(ap);
	return -1;
}

int err_sys(struct err *err, const char *fmt, ...)
{
	int sys = errno;
	va_list ap;

	va_start(ap, fmt);
	fill(err, ERR_SYS, sys, fmt, ap);
	va_end(ap);
	return -1;
}

int err_wrap(struct err *err, const char *fmt, ...)
{
	char old[sizeof(err->msg)];
	va_list ap;
	size_t len;

	if (!err)
		return -1;
	memcpy(old, err->msg, sizeof(old));
	va_start(ap, fmt);
	vsnprintf(err->msg, sizeof(err->msg), fmt, ap);
	va_end(ap);
	len = strlen(err->msg);
	snprintf(err->msg + len, sizeof(err->msg) - len, ": %s", old);
	return -1;
}

int err_http(enum err_code code)
{
	return table[code].http;
}

int err_rpc(enum err_code code)
{
	return table[code].rpc;
}

const char *err_text(enum err_code code)
{
	return table[code].text;
}

const char *err_name(enum err_code code)
{
	return table[code].name;
}

enum err_code err_find(const char *name)
{
	for (int code = 0; code < ERR__COUNT; code++) {
		if (strcmp(table[code].name, name) == 0)
			return (enum err_code)code;
	}
	return ERR_INTERNAL;
}
