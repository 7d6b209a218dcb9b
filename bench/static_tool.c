/* bench/static_tool - a tool that costs next to nothing by itself: linked statically, it says one line. */
#include <unistd.h>

int main(void)
{
	static const char text[] = "a text of a usual length\n";

	return write(STDOUT_FILENO, text, sizeof(text) - 1) == sizeof(text) - 1 ? 0 : 1;
}
