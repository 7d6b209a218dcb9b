#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/log.h"
#include "common/mem.h"
#include "fcgi/http_cache.h"
#include "common/banned.h"

#define MAGIC         "mcphttp1"
#define NAME_MAX_LEN  128  /* of a file; a temporary one has more than 64 */
#define LEAST_BYTES   4096 /* that a file counts for: so the bound is one of their number, too */
#define LOCK_NAME     "lock"
#define DIR_NAME      "cache"
#define FIRST_BYTES   8192 /* of type and body, that are read with the head */
#define SWEEP_DIVISOR 16

struct head {
	char magic[8];
	int64_t stored_ms; /* CLOCK_REALTIME: a reboot may lie between */
	uint64_t type_len, body_len;
};

static struct log_rate write_rate;
static atomic_llong unswept_bytes = LLONG_MAX; /* written since the last look at all files; at the start: who knows */

char *http_cache_dir(const struct cfg *cfg)
{
	return cfg_path_join(cfg->run_dir, DIR_NAME);
}

/* libcrypto looks a digest up by its name each time it is not told which one it was. NULL: there was no memory for
 * that once. */
static EVP_MD *sha256;

static void fetch_sha256(void)
{
	sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
}

bool http_cache_make_key(struct http_cache_key *key, const struct http_request *request)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	const struct slice parts[] = {slice_str(request->method), buf_slice(&request->url),
	    buf_slice(&request->headers), buf_slice(&request->body)};
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	bool ok;

	pthread_once(&once, fetch_sha256);
	ok = ctx && EVP_DigestInit_ex(ctx, sha256 ? sha256 : EVP_sha256(), NULL) == 1;
	for (size_t i = 0; i < COUNT_OF(parts) && ok; i++) {
		uint64_t len = parts[i].len; /* first, or the end of one could be the beginning of the next */

		ok = EVP_DigestUpdate(ctx, &len, sizeof(len)) == 1 && EVP_DigestUpdate(ctx, parts[i].p, len) == 1;
	}
	ok = ok && EVP_DigestFinal_ex(ctx, key->bytes, NULL) == 1;
	EVP_MD_CTX_free(ctx);
	return ok;
}

static void put_name(char name[NAME_MAX_LEN], const struct http_cache_key *key)
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < sizeof(key->bytes); i++) {
		*name++ = digits[key->bytes[i] >> 4];
		*name++ = digits[key->bytes[i] & 15];
	}
	*name = '\0';
}

/* ---- reading ---- */

/* Less than len: that was all, or an error. */
static size_t read_all(int fd, char *bytes, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t got = read(fd, bytes + done, len - done);

		if (got == -1 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		done += (size_t)got;
	}
	return done;
}

/* Most files are read at once. */
static bool read_file(int fd, struct http_response *response, int64_t *age_ms)
{
	int64_t now_real_ms = (int64_t)clock_ms(CLOCK_REALTIME);
	char first[sizeof(struct head) + FIRST_BYTES], *at = first + sizeof(struct head), *body;
	ssize_t got = read(fd, first, sizeof(first));
	struct head head;
	size_t len;

	if (got < (ssize_t)sizeof(head))
		return false;
	memcpy(&head, first, sizeof(head));
	len = (size_t)got - sizeof(head);
	if (memcmp(head.magic, MAGIC, sizeof(head.magic)) != 0 || head.stored_ms > now_real_ms ||
	    head.type_len >= sizeof(response->content_type) || head.type_len > len ||
	    head.body_len > response->body.max)
		return false;
	memcpy(response->content_type, at, head.type_len);
	response->content_type[head.type_len] = '\0';
	at += head.type_len;
	len -= head.type_len;
	if (len > head.body_len)
		len = head.body_len;
	body = buf_reserve(&response->body, head.body_len);
	if (!body)
		return false;
	memcpy(body, at, len);
	if (read_all(fd, body + len, head.body_len - len) < head.body_len - len)
		return false;
	response->body.len = head.body_len;
	body[head.body_len] = '\0';
	*age_ms = now_real_ms - head.stored_ms;
	return true;
}

bool http_cache_read(
    const struct cfg *cfg, const struct http_cache_key *key, struct http_response *response, int64_t *age_ms)
{
	char name[NAME_MAX_LEN], path[PATH_MAX];
	bool is_there;
	int fd;

	put_name(name, key);
	if (snprintf(path, sizeof(path), "%s/" DIR_NAME "/%s", cfg->run_dir, name) >= (int)sizeof(path))
		return false;
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd == -1)
		return false;
	is_there = read_file(fd, response, age_ms);
	close(fd);
	if (!is_there)
		buf_clear(&response->body);
	return is_there;
}

/* ---- writing ---- */

static int open_dir(const char *dir)
{
	return open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static bool write_all(int fd, const void *bytes, size_t len)
{
	const char *at = bytes;

	while (len) {
		ssize_t put = write(fd, at, len);

		if (put == -1 && errno == EINTR)
			continue;
		if (put <= 0)
			return false;
		at += put;
		len -= (size_t)put;
	}
	return true;
}

static bool write_file(int dir_fd, const char *name, const struct http_response *response)
{
	struct head head = {.magic = MAGIC,
	    .stored_ms = (int64_t)clock_ms(CLOCK_REALTIME),
	    .type_len = strlen(response->content_type),
	    .body_len = response->body.len};
	char temporary[NAME_MAX_LEN + 32];
	int fd;
	bool ok;

	snprintf(temporary, sizeof(temporary), "%s.%ld", name, (long)getpid()); /* a process writes one at a time */
	fd = openat(dir_fd, temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
	if (fd == -1)
		return false;
	ok = write_all(fd, &head, sizeof(head)) && write_all(fd, response->content_type, head.type_len) &&
	     write_all(fd, response->body.data, response->body.len);
	ok = close(fd) == 0 && ok && renameat(dir_fd, temporary, dir_fd, name) == 0;
	if (!ok) {
		int error = errno;

		unlinkat(dir_fd, temporary, 0);
		errno = error;
	}
	return ok;
}

struct file {
	struct timespec mtime;
	int64_t bytes;
	char name[NAME_MAX_LEN];
};

static int by_age(const void *a, const void *b)
{
	const struct timespec *x = &((const struct file *)a)->mtime, *y = &((const struct file *)b)->mtime;

	if (x->tv_sec != y->tv_sec)
		return x->tv_sec < y->tv_sec ? -1 : 1;
	return (x->tv_nsec > y->tv_nsec) - (x->tv_nsec < y->tv_nsec);
}

/* All files of the directory but the lock. Returns their bytes. */
static int64_t list_files(DIR *dir, struct file **files, size_t *count)
{
	struct dirent *entry;
	int64_t total = 0;
	struct stat st;
	size_t cap = 0;

	while ((entry = readdir(dir))) {
		if (entry->d_name[0] == '.' || strcmp(entry->d_name, LOCK_NAME) == 0 ||
		    strlen(entry->d_name) >= NAME_MAX_LEN ||
		    fstatat(dirfd(dir), entry->d_name, &st, AT_SYMLINK_NOFOLLOW))
			continue;
		if (*count == cap) {
			struct file *more = mem_realloc(*files, (cap + 256) * sizeof(*more));

			if (!more)
				break; /* the next time, then */
			*files = more;
			cap += 256;
		}
		(*files)[*count] =
		    (struct file){.mtime = st.st_mtim, .bytes = st.st_size > LEAST_BYTES ? st.st_size : LEAST_BYTES};
		memcpy((*files)[*count].name, entry->d_name, strlen(entry->d_name) + 1);
		total += (*files)[(*count)++].bytes;
	}
	return total;
}

/* Removes the oldest until three quarters of the bound are left. */
static void sweep(const char *path, int64_t max_bytes)
{
	DIR *dir = opendir(path);
	struct file *files = NULL;
	size_t count = 0, removed = 0;
	int64_t total;

	if (!dir)
		return;
	total = list_files(dir, &files, &count);
	if (total > max_bytes && count) {
		qsort(files, count, sizeof(*files), by_age);
		for (; removed < count && total > max_bytes - max_bytes / 4; removed++) {
			unlinkat(dirfd(dir), files[removed].name, 0);
			total -= files[removed].bytes;
		}
		LOG(DEBUG, "http.cache_swept", "removed=%zu left=%zu bytes=%lld", removed, count - removed,
		    (long long)total);
	}
	mem_free(files);
	closedir(dir);
}

static void make_dir(const char *path)
{
	if (mkdir(path, 0770) == 0)
		chmod(path, 0770); /* for the group, as run_dir, whatever the umask was */
}

void http_cache_write(
    const char *dir, int64_t max_bytes, const struct http_cache_key *key, const struct http_response *response)
{
	int64_t bytes = (int64_t)response->body.len > LEAST_BYTES ? (int64_t)response->body.len : LEAST_BYTES;
	char name[NAME_MAX_LEN];
	unsigned dropped;
	int dir_fd;
	bool ok;

	if (bytes > max_bytes / SWEEP_DIVISOR)
		return;
	put_name(name, key);
	make_dir(dir);
	dir_fd = open_dir(dir);
	ok = dir_fd != -1 && write_file(dir_fd, name, response);
	if (!ok && log_rate_ok(&write_rate, 1, 10000, &dropped))
		LOG(WARN, "http.not_cached", "dir=%s dropped=%u why=\"%s\"", dir, dropped, strerrordesc_np(errno));
	if (dir_fd != -1)
		close(dir_fd);
	if (atomic_load(&unswept_bytes) > max_bytes / SWEEP_DIVISOR - bytes) {
		atomic_store(&unswept_bytes, 0);
		sweep(dir, max_bytes);
	} else {
		atomic_fetch_add(&unswept_bytes, bytes);
	}
}

/* ---- locks ---- */

int http_cache_lock(const struct cfg *cfg, const struct http_cache_key *key, struct err *err)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};
	char *dir = http_cache_dir(cfg), *path = dir ? cfg_path_join(dir, LOCK_NAME) : NULL;
	int64_t place;
	int fd = -1;

	*err = (struct err){.code = ERR_NONE};
	memcpy(&place, key->bytes, sizeof(place));
	lock.l_start = (off_t)(place & (INT64_MAX >> 1)); /* two keys at one place wait for each other in vain, once */
	if (path) {
		make_dir(dir);
		fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0660);
	}
	if (!path)
		err_set(err, ERR_NOMEM, "http cache");
	else if (fd == -1)
		err_sys(err, "%s", path);
	else if (fcntl(fd, F_OFD_SETLK, &lock) == -1) {
		if (errno != EAGAIN && errno != EACCES)
			err_sys(err, "lock %s", path);
		close(fd);
		fd = -1;
	}
	mem_free(path);
	mem_free(dir);
	return fd;
}
