#include "config.h"

#include "ctl/mdoc.h"
#include "common/banned.h"

#define WIDTH 79

void mdoc_add_text(struct buf *out, const char *text)
{
	size_t column = 0;

	while (*text) {
		size_t len = strcspn(text, " ");

		if (column > 0) {
			bool fits = column + 1 + len < WIDTH;

			buf_adds(out, fits ? " " : "\n");
			column = fits ? column + 1 : 0;
		}
		if (column == 0 && (*text == '.' || *text == '\''))
			buf_adds(out, "\\&");
		for (size_t i = 0; i < len; i++)
			buf_add(out, text[i] == '\\' ? "\\e" : &text[i], text[i] == '\\' ? 2 : 1);
		column += len;
		text += len + (text[len] == ' ');
	}
}
