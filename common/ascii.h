/* common/ascii.h - letters and digits of protocols, whatever the locale. */
#ifndef MCP_COMMON_ASCII_H
#define MCP_COMMON_ASCII_H

#include <stdbool.h>
#include <string.h>

static inline bool ascii_is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static inline bool ascii_is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static inline bool ascii_is_among(char c, const char *set)
{
	return c && strchr(set, c);
}

static inline char ascii_lower(char c)
{
	return c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
}

static inline char ascii_upper(char c)
{
	return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
}

#endif
