#include "config.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "broker/store_wal.h"
#include "common/banned.h"

/* https://www.sqlite.org/fileformat2.html#the_write_ahead_log; all numbers are big-endian. */
#define HEADER_LEN       32
#define HEADER_PAGE_SIZE 8
#define HEADER_SALTS     16
#define FRAME_LEN        24 /* then a page */
#define FRAME_COMMIT     4  /* pages of the database after a commit; 0: no commit */
#define FRAME_SALTS      8
#define SALTS_LEN        8

static uint32_t get_u32(const unsigned char *p)
{
	return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

bool wal_has_more(const char *path, uint64_t frames)
{
	unsigned char header[HEADER_LEN], frame[FRAME_LEN];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	bool has_more = false;
	uint64_t stride;

	if (fd == -1)
		return false;
	if (pread(fd, header, sizeof(header), 0) == sizeof(header)) {
		stride = FRAME_LEN + (uint64_t)get_u32(header + HEADER_PAGE_SIZE);
		for (uint64_t i = frames; !has_more; i++) {
			off_t at = (off_t)(HEADER_LEN + i * stride);

			/* Frames with other salts are left from before the file was begun anew. */
			if (pread(fd, frame, sizeof(frame), at) != sizeof(frame) ||
			    memcmp(frame + FRAME_SALTS, header + HEADER_SALTS, SALTS_LEN) != 0)
				break;
			has_more = get_u32(frame + FRAME_COMMIT) != 0;
		}
	}
	close(fd);
	return has_more;
}
