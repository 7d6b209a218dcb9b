/* What is encrypted is the expiry and then the text. The key of a token is HMAC-SHA256(key of the host, nonce): with
 * 192 random bits no two tokens share one, so the GCM nonce can be zero. Purpose and bound are its additional data. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include "common/base64.h"
#include "common/mem.h"
#include "common/rnd.h"
#include "fcgi/seal.h"
#include "common/banned.h"

#define FORMAT     1
#define KEY_LEN    32
#define NONCE_LEN  24
#define TAG_LEN    16
#define HEAD_LEN   (1 + NONCE_LEN) /* what is not encrypted */
#define EXPIRY_LEN 8
#define LEN_MAX    (1 << 26) /* of a text: EVP counts in int */
#define FILE_NAME  "seal.key"

struct seal {
	const struct cfg *cfg; /* borrowed */
	pthread_mutex_t mtx;
	bool has_key;               /* by mtx */
	unsigned char key[KEY_LEN]; /* by mtx until has_key, then only read */
};

struct seal *seal_new(const struct cfg *cfg)
{
	struct seal *s = mem_alloc(1, sizeof(*s));

	if (!s)
		return NULL;
	s->cfg = cfg;
	pthread_mutex_init(&s->mtx, NULL);
	return s;
}

void seal_free(struct seal **sealp)
{
	struct seal *s = *sealp;

	if (!s)
		return;
	*sealp = NULL;
	OPENSSL_cleanse(s->key, sizeof(s->key));
	pthread_mutex_destroy(&s->mtx);
	mem_free(s);
}

/* The key of the file, if it is ours alone. 1: there is none. */
static int read_key(const char *path, unsigned char key[KEY_LEN], struct err *err)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK), ret = 0;
	struct stat st;

	if (fd == -1)
		return errno == ENOENT ? 1 : err_sys(err, "open %s", path);
	if (fstat(fd, &st) == -1)
		ret = err_sys(err, "fstat %s", path);
	else if (!S_ISREG(st.st_mode) || (st.st_uid != geteuid() && st.st_uid != 0) || st.st_mode & 077)
		ret = err_set(err, ERR_SYS, "%s may be read by others, or is another user's: remove it", path);
	else if (st.st_size != KEY_LEN || read(fd, key, KEY_LEN) != KEY_LEN)
		ret = err_set(err, ERR_SYS, "%s is not a key of %d bytes: remove it", path, KEY_LEN);
	close(fd);
	return ret;
}

/* The file appears with all its bytes: it is written under another name. Whoever comes first gives it the name that
 * counts. The directory is that of a broker that may not have been needed yet; one that others start has made it. */
static int make_key(const struct cfg *cfg, const char *path, struct err *err)
{
	unsigned char key[KEY_LEN];
	char token[17], *own;
	struct buf name;
	int fd, ret = 0;

	if (cfg->broker_autostart && cfg_make_run_dir(cfg, err))
		return -1;
	rnd_token(token, sizeof(token));
	rnd_bytes(key, sizeof(key));
	buf_init(&name, 4096);
	buf_addf(&name, "%s/" FILE_NAME ".%s", cfg->run_dir, token);
	if (buf_check(&name, err)) {
		buf_release(&name);
		return -1;
	}
	own = name.data;
	fd = open(own, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd == -1) {
		ret = err_sys(err, "create %s", own);
	} else {
		errno = ENOSPC; /* of a short write */
		if (write(fd, key, sizeof(key)) != sizeof(key) || fsync(fd) == -1)
			ret = err_sys(err, "write %s", own);
		else if (link(own, path) == -1 && errno != EEXIST)
			ret = err_sys(err, "link %s", path);
		close(fd);
		unlink(own);
	}
	OPENSSL_cleanse(key, sizeof(key));
	buf_release(&name);
	return ret;
}

static int ensure_key(struct seal *s, struct err *err)
{
	char *path;
	int ret = 0;

	pthread_mutex_lock(&s->mtx);
	if (!s->has_key) {
		path = cfg_path_join(s->cfg->run_dir, FILE_NAME);
		ret = path ? read_key(path, s->key, err) : err_set(err, ERR_NOMEM, FILE_NAME);
		if (ret == 1)
			ret = make_key(s->cfg, path, err) ? -1 : read_key(path, s->key, err);
		if (ret == 1)
			ret = err_set(err, ERR_SYS, "%s is gone again", path);
		s->has_key = ret == 0;
		mem_free(path);
	}
	pthread_mutex_unlock(&s->mtx);
	return ret;
}

/* One pass of AES-256-GCM over in, len bytes to out. tag is written (encrypting) or has to fit. False: it doesn't, or
 * libcrypto has no memory. */
static bool run_gcm(const struct seal *s, bool encrypt, const unsigned char *nonce, const char *purpose,
    struct slice bound, const void *in, size_t len, void *out, unsigned char tag[TAG_LEN])
{
	static const unsigned char zero[12];
	unsigned char key[KEY_LEN];
	EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
	int n, rest;
	bool ok;

	/* The NUL of purpose ends it: none can be continued by a bound. */
	ok = ctx && HMAC(EVP_sha256(), s->key, KEY_LEN, nonce, NONCE_LEN, key, NULL) &&
	     EVP_CipherInit_ex(ctx, EVP_aes_256_gcm(), NULL, key, zero, encrypt) == 1 &&
	     EVP_CipherUpdate(ctx, NULL, &n, (const unsigned char *)purpose, (int)strlen(purpose) + 1) == 1 &&
	     (bound.len == 0 || EVP_CipherUpdate(ctx, NULL, &n, (const unsigned char *)bound.p, (int)bound.len) == 1) &&
	     EVP_CipherUpdate(ctx, out, &n, in, (int)len) == 1 &&
	     (encrypt || EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_SET_TAG, TAG_LEN, tag) == 1) &&
	     EVP_CipherFinal_ex(ctx, (unsigned char *)out + n, &rest) == 1 &&
	     (!encrypt || EVP_CIPHER_CTX_ctrl(ctx, EVP_CTRL_AEAD_GET_TAG, TAG_LEN, tag) == 1);
	OPENSSL_cleanse(key, sizeof(key));
	EVP_CIPHER_CTX_free(ctx);
	return ok;
}

int seal_close(struct seal *s, const char *purpose, struct slice bound, uint32_t ttl_s, struct slice plain,
    struct buf *out, struct err *err)
{
	uint64_t expiry_ms = clock_ms(CLOCK_REALTIME) + (uint64_t)ttl_s * 1000;
	struct buf text, token;
	unsigned char *at;
	int ret = -1;

	if (plain.len > LEN_MAX || bound.len > LEN_MAX)
		return err_set(err, ERR_TOO_BIG, "%zu bytes to be sealed", plain.len);
	if (ensure_key(s, err))
		return -1;
	buf_init(&text, EXPIRY_LEN + plain.len);
	buf_init(&token, HEAD_LEN + EXPIRY_LEN + plain.len + TAG_LEN);
	buf_add(&text, &expiry_ms, EXPIRY_LEN);
	buf_add_slice(&text, plain);
	at = (unsigned char *)buf_reserve(&token, token.max);
	if (buf_check(&text, err) == 0 && buf_check(&token, err) == 0) {
		at[0] = FORMAT;
		rnd_bytes(at + 1, NONCE_LEN);
		if (run_gcm(s, true, at + 1, purpose, bound, text.data, text.len, at + HEAD_LEN,
			at + HEAD_LEN + text.len)) {
			base64_encode(out, BASE64_URL, (struct slice){(char *)at, token.max});
			ret = buf_check(out, err);
		} else {
			err_set(err, ERR_NOMEM, "libcrypto can't encrypt");
		}
	}
	if (text.data)
		OPENSSL_cleanse(text.data, text.len);
	buf_release(&text);
	buf_release(&token);
	return ret;
}

static int open_bytes(
    struct seal *s, const char *purpose, struct slice bound, struct buf *token, struct buf *plain, struct err *err)
{
	size_t len = token->len - HEAD_LEN - TAG_LEN;
	unsigned char *at = (unsigned char *)token->data;
	char *text = buf_reserve(plain, len);
	uint64_t expiry_ms;

	if (!text)
		return buf_check(plain, err);
	if (!run_gcm(s, false, at + 1, purpose, bound, at + HEAD_LEN, len, text, at + HEAD_LEN + len))
		return err_set(
		    err, ERR_PARAMS, "it is not from this server, was changed, or belongs to another request");
	memcpy(&expiry_ms, text, EXPIRY_LEN);
	if (expiry_ms <= clock_ms(CLOCK_REALTIME))
		return err_set(err, ERR_PARAMS, "it has expired");
	memmove(text, text + EXPIRY_LEN, len - EXPIRY_LEN);
	plain->len += len - EXPIRY_LEN;
	plain->data[plain->len] = '\0';
	return 0;
}

int seal_open(
    struct seal *s, const char *purpose, struct slice bound, struct slice token, struct buf *plain, struct err *err)
{
	struct buf bytes;
	int ret;

	if (ensure_key(s, err))
		return -1;
	buf_init(&bytes, LEN_MAX);
	if (!base64_decode(&bytes, BASE64_URL, token) || bytes.fault == ERR_TOO_BIG ||
	    bytes.len < HEAD_LEN + EXPIRY_LEN + TAG_LEN || bytes.data[0] != FORMAT)
		ret = err_set(err, ERR_PARAMS, "it is not from this server");
	else
		ret = buf_check(&bytes, err) ? -1 : open_bytes(s, purpose, bound, &bytes, plain, err);
	buf_release(&bytes);
	return ret;
}
