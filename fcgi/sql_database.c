/* Databases of the configuration, and their connections. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/jx.h"
#include "common/mem.h"
#include "fcgi/definition.h"
#include "fcgi/sql_priv.h"
#include "common/banned.h"

#define CONNECTIONS_DEFAULT 8
#define CONNECTIONS_MAX     256
#define PASSWORD_MAX_BYTES  4096
#define NAMES_MAX           64 /* that are looked through for the one that was meant */

static const struct sql_driver *const drivers[] = {
    &sql_sqlite,
#ifdef HAVE_LIBPQ
    &sql_postgresql,
#endif
#ifdef HAVE_LIBMARIADB
    &sql_mysql,
#endif
};

static struct {
	pthread_mutex_t mtx;
	struct sql_database *first;
} all = {.mtx = PTHREAD_MUTEX_INITIALIZER};

static int out_of_memory(struct err *err)
{
	return err_set(err, ERR_NOMEM, "databases");
}

/* A string member as a path, absolute, or NULL without it. */
static int read_path(
    json_object *def, const char *member, char **path, struct cfg *cfg, const char *pointer, struct err *err)
{
	struct slice text = jx_get_str(def, member);

	if (!jx_has(def, member))
		return 0;
	if (text.len == 0 || strlen(text.p) != text.len)
		return cfg_complain_at(cfg, pointer, member, "%s must be the name of a file", member);
	*path = cfg_path_join(cfg_dir_of(cfg, pointer), text.p);
	if (!*path)
		return out_of_memory(err);
	return access(*path, R_OK) == 0 ? 0 : cfg_complain_at(cfg, pointer, member, "%s can't be read", *path);
}

static int read_members(
    struct sql_database *db, json_object *def, struct cfg *cfg, const char *pointer, struct err *err)
{
	const char *known[COUNT_OF(drivers) + 4] = {"password_file", "write", "connections_max"}, *near;
	json_object *max = jx_get(def, "connections_max");
	int bad = 0;

	for (size_t i = 0; i < COUNT_OF(drivers); i++)
		known[3 + i] = drivers[i]->name;
	json_object_object_foreach(def, name, val) {
		size_t i = 0;

		(void)val;
		while (known[i] && strcmp(known[i], name) != 0)
			i++;
		near = known[i] ? NULL : cfg_nearest(name, known);
		if (near)
			bad = cfg_complain_at(
			    cfg, pointer, name, "unknown member \"%s\"; did you mean \"%s\"?", name, near);
		else if (!known[i])
			bad = cfg_complain_at(cfg, pointer, name, "unknown member \"%s\"", name);
	}
	if (jx_has(def, "write") && !json_object_is_type(jx_get(def, "write"), json_type_boolean))
		bad = cfg_complain_at(cfg, pointer, "write", "write must be true or false");
	db->is_writable = json_object_get_boolean(jx_get(def, "write"));
	db->connections_max = CONNECTIONS_DEFAULT;
	if (jx_has(def, "connections_max")) {
		int64_t count = jx_is_integer(max) ? json_object_get_int64(max) : 0;

		if (count < 1 || count > CONNECTIONS_MAX)
			bad = cfg_complain_at(cfg, pointer, "connections_max",
			    "connections_max must be a whole number, 1 to %d", CONNECTIONS_MAX);
		db->connections_max = (size_t)count;
	}
	return read_path(def, "password_file", &db->password_file, cfg, pointer, err) ? -1 : bad;
}

static int read_target(struct sql_database *db, json_object *def, struct cfg *cfg, const char *pointer, struct err *err)
{
	struct slice words;
	struct err why;
	size_t found = 0;

	for (size_t i = 0; i < COUNT_OF(drivers); i++) {
		if (jx_has(def, drivers[i]->name)) {
			db->driver = drivers[i];
			found++;
		}
	}
	if (found != 1) {
		cfg_complain(cfg, pointer,
		    "a database needs exactly one member that says which it is, as in {\"sqlite\": "
		    "\"clients.db\"}");
		return -1;
	}
	if (db->driver->is_file)
		return read_path(def, db->driver->name, &db->target, cfg, pointer, err);
	words = jx_get_str(def, db->driver->name);
	if (words.len == 0 || strlen(words.p) != words.len)
		return cfg_complain_at(
		    cfg, pointer, db->driver->name, "%s must say where the database is", db->driver->name);
	if (db->driver->library && library_open(db->driver->library, &why))
		return cfg_complain_at(cfg, pointer, db->driver->name, "%s", why.msg);
	if (db->driver->check && db->driver->check(words.p, &why))
		return why.code == ERR_NOMEM ? out_of_memory(err)
					     : cfg_complain_at(cfg, pointer, db->driver->name, "%s", why.msg);
	db->target = mem_dup(words.p, words.len);
	return db->target ? 0 : out_of_memory(err);
}

static void database_free(struct sql_database *db)
{
	while (db->idle_count)
		db->driver->close(db->idle[--db->idle_count]);
	mem_free(db->idle);
	if (db->free_fd != -1)
		close(db->free_fd);
	pthread_mutex_destroy(&db->mtx);
	mem_free(db->target);
	mem_free(db->password_file);
	mem_free(db);
}

static bool is_same(const struct sql_database *a, const struct sql_database *b)
{
	return a->driver == b->driver && strcmp(a->target, b->target) == 0 && a->is_writable == b->is_writable &&
	       a->connections_max == b->connections_max && !a->password_file == !b->password_file &&
	       (!a->password_file || strcmp(a->password_file, b->password_file) == 0);
}

/* db, or one that is there already. */
static struct sql_database *join(struct sql_database *db)
{
	struct sql_database *found;

	pthread_mutex_lock(&all.mtx);
	for (found = all.first; found && !is_same(found, db); found = found->next)
		;
	if (found) {
		found->refs++;
	} else {
		db->refs = 1;
		db->next = all.first;
		all.first = db;
	}
	pthread_mutex_unlock(&all.mtx);
	if (!found)
		return db;
	database_free(db);
	return found;
}

void sql_database_put(struct sql_database *db)
{
	struct sql_database **at;
	bool is_last;

	if (!db)
		return;
	pthread_mutex_lock(&all.mtx);
	is_last = --db->refs == 0;
	for (at = &all.first; is_last && *at != db; at = &(*at)->next)
		;
	if (is_last)
		*at = db->next;
	pthread_mutex_unlock(&all.mtx);
	if (is_last)
		database_free(db);
}

/* The name of the database that def means. NULL: complained about, at def. */
static const char *find_name(json_object *def, struct cfg *cfg, const char *pointer)
{
	struct slice wanted = jx_get_str(def, "database");
	const char *names[NAMES_MAX + 1] = {NULL}, *near;
	size_t count = 0;

	json_object_object_foreach(cfg->databases, name, database) {
		(void)database;
		if (wanted.p && slice_is(wanted, name))
			return name;
		if (count < NAMES_MAX)
			names[count++] = name;
	}
	if (!jx_has(def, "database") && count == 1)
		return names[0];
	near = wanted.p ? cfg_nearest(wanted.p, names) : NULL;
	if (near)
		cfg_complain_at(cfg, pointer, "database", "there is no such database; did you mean \"%s\"?", near);
	else if (jx_has(def, "database"))
		cfg_complain_at(cfg, pointer, "database", "there is no such database in \"databases\"");
	else if (count)
		cfg_complain(cfg, pointer, "\"database\" must say which of the %zu it asks", count);
	else
		cfg_complain(cfg, pointer, "there is no database; \"databases\" is to define one");
	return NULL;
}

static struct sql_database *read_database(json_object *def, struct cfg *cfg, const char *pointer, struct err *err)
{
	struct sql_database *db;

	if (!json_object_is_type(def, json_type_object)) {
		cfg_complain(cfg, pointer, "a database is described by an object, as in {\"sqlite\": \"clients.db\"}");
		return NULL;
	}
	db = mem_alloc(1, sizeof(*db));
	if (!db || pthread_mutex_init(&db->mtx, NULL) != 0) {
		mem_free(db);
		out_of_memory(err);
		return NULL;
	}
	db->free_fd = -1;
	if (read_target(db, def, cfg, pointer, err) == 0 && read_members(db, def, cfg, pointer, err) == 0) {
		db->idle = mem_alloc(db->connections_max, sizeof(*db->idle));
		if (db->idle)
			return join(db);
		out_of_memory(err);
	}
	database_free(db);
	return NULL;
}

struct sql_database *sql_database_get(json_object *def, struct cfg *cfg, const char *pointer, struct err *err)
{
	const char *name = find_name(def, cfg, pointer);
	struct sql_database *db = NULL;
	struct buf own_pointer;

	if (!name || !jx_get(cfg->databases, name))
		return NULL;
	buf_init(&own_pointer, DEFINITION_POINTER_MAX);
	buf_adds(&own_pointer, "/databases");
	jx_add_pointer(&own_pointer, slice_str(name));
	if (buf_check(&own_pointer, err) == 0)
		db = read_database(jx_get(cfg->databases, name), cfg, own_pointer.data, err);
	if (!db) /* complained about: it is null from here on, and nobody complains again */
		json_object_object_add(cfg->databases, name, NULL);
	buf_release(&own_pointer);
	return db;
}

int sql_password(const struct sql_database *db, struct buf *password, struct err *err)
{
	char text[PASSWORD_MAX_BYTES];
	ssize_t len;
	int fd;

	if (!db->password_file)
		return 0;
	fd = open(db->password_file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd == -1)
		return err_sys(err, "open %s", db->password_file);
	len = read(fd, text, sizeof(text));
	close(fd);
	if (len == -1)
		return err_sys(err, "read %s", db->password_file);
	for (ssize_t i = 0; i < len; i++) {
		if (text[i] == '\n' || text[i] == '\r')
			len = i;
	}
	buf_add(password, text, (size_t)len);
	memset(text, 0, sizeof(text));
	return buf_check(password, err);
}

/* With mtx. -1: *err. Made by who waits first, and so not before fork(): two processes must not share it. */
static int free_fd_of(struct sql_database *db, struct err *err)
{
	if (db->free_fd == -1)
		db->free_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
	return db->free_fd == -1 ? err_sys(err, "eventfd") : db->free_fd;
}

/* Takes one of connections_max, and an idle connection if there is one. 1: all are in use, and the caller counts as
 * waiting for free_fd. */
static int try_to_take(struct sql_database *db, void **conn, struct err *err)
{
	int ret = 0;

	pthread_mutex_lock(&db->mtx);
	if (db->used_count < db->connections_max) {
		db->used_count++;
		*conn = db->idle_count ? db->idle[--db->idle_count] : NULL;
	} else if (free_fd_of(db, err) == -1) {
		ret = -1;
	} else {
		db->waiting_count++;
		ret = 1;
	}
	pthread_mutex_unlock(&db->mtx);
	return ret;
}

static void stop_waiting(struct sql_database *db)
{
	pthread_mutex_lock(&db->mtx);
	db->waiting_count--;
	pthread_mutex_unlock(&db->mtx);
}

static int take(struct sql_database *db, struct call *call, uint64_t deadline_ms, void **conn, struct err *err)
{
	for (;;) {
		bool is_last = now_ms() >= deadline_ms; /* a token may be there each time, and others faster */
		int ret = try_to_take(db, conn, err), n;
		struct pollfd ready;
		eventfd_t ignored;

		if (ret != 1)
			return ret;
		if (is_last) {
			stop_waiting(db);
			return err_set(
			    err, ERR_BUSY, "all %zu connections to the database are in use", db->connections_max);
		}
		ready = (struct pollfd){.fd = db->free_fd, .events = POLLIN};
		n = call_poll(call, &ready, 1, ms_until(deadline_ms, now_ms()), err);
		if (n == 1)
			eventfd_read(ready.fd, &ignored); /* or somebody else does, and is woken in our place */
		stop_waiting(db);
		if (n == -1)
			return -1;
	}
}

/* conn NULL: there is none to be kept. */
static void give_back(struct sql_database *db, void *conn)
{
	pthread_mutex_lock(&db->mtx);
	if (conn)
		db->idle[db->idle_count++] = conn;
	db->used_count--;
	if (db->waiting_count)
		eventfd_write(db->free_fd, 1);
	pthread_mutex_unlock(&db->mtx);
}

int sql_connect(struct sql_database *db, struct call *call, uint64_t deadline_ms, void **conn, struct err *err)
{
	if (take(db, call, deadline_ms, conn, err))
		return -1;
	if (*conn && db->driver->is_alive && !db->driver->is_alive(*conn)) {
		db->driver->close(*conn);
		*conn = NULL;
	}
	if (*conn || db->driver->open(db, call, deadline_ms, conn, err) == 0)
		return 0;
	give_back(db, NULL);
	return -1;
}

void sql_disconnect(struct sql_database *db, void *conn, bool is_broken)
{
	if (is_broken)
		db->driver->close(conn);
	give_back(db, is_broken ? NULL : conn);
}
