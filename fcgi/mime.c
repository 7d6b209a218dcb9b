#include "config.h"

#include <strings.h>

#include "common/utf8.h"
#include "fcgi/mime.h"
#include "common/banned.h"

static const struct {
	const char *extension, *type;
} rows[] = {
    {"aac", "audio/aac"},
    {"avif", "image/avif"},
    {"c", "text/x-c"},
    {"css", "text/css"},
    {"csv", "text/csv"},
    {"docx", "application/vnd.openxmlformats-officedocument.wordprocessingml.document"},
    {"epub", "application/epub+zip"},
    {"gif", "image/gif"},
    {"gz", "application/gzip"},
    {"h", "text/x-c"},
    {"htm", "text/html"},
    {"html", "text/html"},
    {"ico", "image/vnd.microsoft.icon"},
    {"ics", "text/calendar"},
    {"jpeg", "image/jpeg"},
    {"jpg", "image/jpeg"},
    {"js", "text/javascript"},
    {"json", "application/json"},
    {"jsonl", "application/jsonl"},
    {"log", "text/plain"},
    {"m4a", "audio/mp4"},
    {"markdown", "text/markdown"},
    {"md", "text/markdown"},
    {"mjs", "text/javascript"},
    {"mp3", "audio/mpeg"},
    {"mp4", "video/mp4"},
    {"odt", "application/vnd.oasis.opendocument.text"},
    {"ogg", "audio/ogg"},
    {"otf", "font/otf"},
    {"pdf", "application/pdf"},
    {"php", "application/x-httpd-php"},
    {"png", "image/png"},
    {"pptx", "application/vnd.openxmlformats-officedocument.presentationml.presentation"},
    {"py", "text/x-python"},
    {"rst", "text/x-rst"},
    {"rtf", "application/rtf"},
    {"sh", "application/x-sh"},
    {"sql", "application/sql"},
    {"svg", "image/svg+xml"},
    {"tar", "application/x-tar"},
    {"tif", "image/tiff"},
    {"tiff", "image/tiff"},
    {"toml", "application/toml"},
    {"tsv", "text/tab-separated-values"},
    {"ttf", "font/ttf"},
    {"txt", "text/plain"},
    {"wasm", "application/wasm"},
    {"wav", "audio/wav"},
    {"webm", "video/webm"},
    {"webp", "image/webp"},
    {"woff2", "font/woff2"},
    {"xhtml", "application/xhtml+xml"},
    {"xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"},
    {"xml", "application/xml"},
    {"yaml", "application/yaml"},
    {"yml", "application/yaml"},
    {"zip", "application/zip"},
};

const char *mime_extension(const char *name)
{
	const char *dot = strrchr(name, '.');

	return dot && dot != name ? dot + 1 : "";
}

const char *mime_of_extension(const char *extension)
{
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		if (strcasecmp(rows[i].extension, extension) == 0)
			return rows[i].type;
	}
	return NULL;
}

const char *mime_of_text(bool is_text)
{
	return is_text ? "text/plain" : "application/octet-stream";
}

bool mime_is_text(struct slice bytes, bool is_front)
{
	size_t len;

	if (bytes.len && memchr(bytes.p, '\0', bytes.len))
		return false;
	while ((len = utf8_len(bytes)) > 0) {
		bytes.p += len;
		bytes.len -= len;
	}
	return bytes.len == 0 || (is_front && bytes.len < 4 && (unsigned char)bytes.p[0] >= 0xc2);
}

bool mime_is_binary(struct slice type)
{
	static const char *const kinds[] = {"image/", "audio/", "video/", "font/"};
	const struct slice xml = SLICE("+xml");

	if (type.len > xml.len && strncasecmp(type.p + type.len - xml.len, xml.p, xml.len) == 0)
		return false;
	for (size_t i = 0; i < COUNT_OF(kinds); i++) {
		size_t len = strlen(kinds[i]);

		if (type.len > len && strncasecmp(type.p, kinds[i], len) == 0)
			return true;
	}
	return false;
}
