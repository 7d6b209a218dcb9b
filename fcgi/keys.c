#include "config.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "common/mem.h"
#include "fcgi/keys.h"
#include "common/banned.h"

#define PRINCIPAL_MAX 64
#define KEY_MIN       16
#define KEY_MAX       256

struct key {
	char principal[PRINCIPAL_MAX + 1];
	char text[KEY_MAX + 1];
	size_t len; /* of text */
};

static int read_line(struct keys *keys, const char *file, unsigned line, struct slice text, struct err *err)
{
	const char *colon = memchr(text.p, ':', text.len);
	size_t name_len = colon ? (size_t)(colon - text.p) : 0, len = colon ? text.len - name_len - 1 : 0;
	struct key *more, *key;

	if (name_len == 0 || name_len > PRINCIPAL_MAX)
		return err_set(err, ERR_CONFIG, "%s:%u: expected principal:key, principal of 1 to %d characters", file,
		    line, PRINCIPAL_MAX);
	for (size_t i = 0; i < name_len; i++) {
		if (!isalnum((unsigned char)text.p[i]) && !memchr("_-.@", text.p[i], 4))
			return err_set(
			    err, ERR_CONFIG, "%s:%u: a principal holds letters, digits, _ - . and @ only", file, line);
	}
	if (len < KEY_MIN || len > KEY_MAX)
		return err_set(err, ERR_CONFIG, "%s:%u: a key has %d to %d characters, this one %zu", file, line,
		    KEY_MIN, KEY_MAX, len);
	for (size_t i = 0; i < len; i++) {
		if (colon[1 + i] < 0x21 || colon[1 + i] > 0x7e)
			return err_set(err, ERR_CONFIG, "%s:%u: a key holds visible ASCII only", file, line);
	}
	more = mem_realloc(keys->items, (keys->count + 1) * sizeof(*more));
	if (!more)
		return err_set(err, ERR_NOMEM, "%s:%u: out of memory", file, line);
	keys->items = more;
	key = &more[keys->count++];
	memset(key, 0, sizeof(*key));
	memcpy(key->principal, text.p, name_len);
	memcpy(key->text, colon + 1, len);
	key->len = len;
	return 0;
}

int keys_load(struct keys *keys, const char *file, struct err *err)
{
	FILE *f = fopen(file, "re");
	char *text = NULL;
	size_t size = 0;
	ssize_t len;
	struct stat st;
	int ret = 0;

	*keys = (struct keys){0};
	if (!f)
		return err_sys(err, "open %s", file);
	if (fstat(fileno(f), &st) == 0 && (st.st_mode & S_IRWXO)) {
		ret = err_set(err, ERR_CONFIG, "%s may be read by everyone; chmod o-rwx it", file);
	} else {
		for (unsigned line = 1; ret == 0 && (len = getline(&text, &size, f)) >= 0; line++) {
			while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
				text[--len] = '\0';
			if (len > 0 && text[0] != '#')
				ret = read_line(keys, file, line, (struct slice){text, (size_t)len}, err);
		}
		if (ret == 0 && keys->count == 0)
			ret = err_set(
			    err, ERR_CONFIG, "%s holds no key; without such a file none is asked for", file);
	}
	if (text)
		explicit_bzero(text, size);
	free(text); /* getline's */
	fclose(f);
	if (ret)
		keys_release(keys);
	return ret;
}

void keys_release(struct keys *keys)
{
	if (keys->items)
		explicit_bzero(keys->items, keys->count * sizeof(*keys->items));
	mem_free(keys->items);
	*keys = (struct keys){0};
}

const char *keys_find(const struct keys *keys, struct slice key)
{
	const char *found = NULL;

	for (size_t i = 0; i < keys->count; i++) {
		const struct key *k = &keys->items[i];
		unsigned char diff = 0;

		if (k->len != key.len)
			continue;
		for (size_t n = 0; n < key.len; n++)
			diff |= (unsigned char)(k->text[n] ^ key.p[n]);
		if (diff == 0)
			found = k->principal;
	}
	return found;
}

const char *keys_principal(const struct keys *keys, size_t i)
{
	return keys->items[i].principal;
}
