#include "config.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/jx.h"
#include "common/log.h"
#include "common/mem.h"
#include "fcgi/module_priv.h"
#include "common/banned.h"

#define SYMBOL         "mcp_fcgi_module"
#define FILE_MAX_BYTES ((off_t)1 << 30)
#define LOOK_MAX_MS    10000             /* that a module may take to be loaded */
#define OFFERS_MAX     10000             /* of a kind: a list that doesn't end has more */
#define STRUCT_MAX     4096              /* bytes of a struct of a later version */
#define TEXT_MAX       ((size_t)1 << 24) /* bytes of one text of an offer */

/* What each kind is in the module's table. All its structs begin with the name, and have a handler. */
static const struct {
	const char *catalog, *name; /* of the kind; of the struct */
	size_t list, size;          /* in struct mcp_module: of the list, of the struct's size */
	size_t known;               /* the struct's size as we know it */
	size_t description, handler, members;
	struct {
		const char *member;
		size_t offset;
	} text, json; /* of the definition; member NULL: it has none */
} kinds[] = {
    [DEFINITION_TOOL] = {"tools", "mcp_tool", offsetof(struct mcp_module, tools),
	offsetof(struct mcp_module, tool_size), sizeof(struct mcp_tool), offsetof(struct mcp_tool, description),
	offsetof(struct mcp_tool, run), offsetof(struct mcp_tool, members), {NULL, 0},
	{"input", offsetof(struct mcp_tool, input)}},
    [DEFINITION_RESOURCE] = {"resources", "mcp_resource", offsetof(struct mcp_module, resources),
	offsetof(struct mcp_module, resource_size), sizeof(struct mcp_resource),
	offsetof(struct mcp_resource, description), offsetof(struct mcp_resource, read),
	offsetof(struct mcp_resource, members), {"mime_type", offsetof(struct mcp_resource, mime_type)}, {NULL, 0}},
    [DEFINITION_PROMPT] = {"prompts", "mcp_prompt", offsetof(struct mcp_module, prompts),
	offsetof(struct mcp_module, prompt_size), sizeof(struct mcp_prompt), offsetof(struct mcp_prompt, description),
	offsetof(struct mcp_prompt, get), offsetof(struct mcp_prompt, members), {NULL, 0},
	{"arguments", offsetof(struct mcp_prompt, arguments)}},
};

static const char *const entry_members[] = {"file", "settings", "timeout_s", NULL};

static struct {
	pthread_mutex_t mtx;
	struct module *first;
} all = {.mtx = PTHREAD_MUTEX_INITIALIZER};

static int out_of_memory(struct err *err)
{
	return err_set(err, ERR_NOMEM, "modules");
}

/* Reading what is not of one type but of three: at is the place of a member. */

static const char *text_at(const char *entry, size_t at)
{
	const char *text;

	memcpy(&text, entry + at, sizeof(text));
	return text;
}

static uint32_t size_at(const struct mcp_module *table, size_t at)
{
	uint32_t size;

	memcpy(&size, (const char *)table + at, sizeof(size));
	return size;
}

/* Entry i of a list, or NULL behind its end. */
static const char *entry_at(const struct mcp_module *table, size_t kind, size_t i)
{
	const char *list = text_at((const char *)table, kinds[kind].list);

	list = list ? list + i * size_at(table, kinds[kind].size) : NULL;
	return list && text_at(list, 0) ? list : NULL;
}

/* What a module exports. */

static int check_size(const char *name, uint32_t size, size_t known, struct err *err)
{
	if (size >= known && size <= STRUCT_MAX && size % sizeof(void *) == 0)
		return 0;
	return err_set(err, ERR_CONFIG,
	    "its struct %s has %u bytes and not %zu: its " SYMBOL " must begin with MCP_MODULE_HEAD", name, size,
	    known);
}

/* Each is looked at here, in the process that may crash of it. */
static int check_texts(const char *entry, size_t kind, struct err *err)
{
	const char *texts[] = {text_at(entry, 0), text_at(entry, kinds[kind].description),
	    text_at(entry, kinds[kind].members),
	    kinds[kind].text.member ? text_at(entry, kinds[kind].text.offset) : NULL,
	    kinds[kind].json.member ? text_at(entry, kinds[kind].json.offset) : NULL};

	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		if (texts[i] && strnlen(texts[i], TEXT_MAX) == TEXT_MAX)
			return err_set(err, ERR_CONFIG, "a text of %s/%.100s has no end, or more than %zu bytes",
			    kinds[kind].catalog, texts[0], TEXT_MAX);
	}
	return 0;
}

static int check_list(const struct mcp_module *table, size_t kind, struct err *err)
{
	const char *entry;

	for (size_t i = 0; (entry = entry_at(table, kind, i)); i++) {
		int (*handler)(struct mcp_call *);

		memcpy(&handler, entry + kinds[kind].handler, sizeof(handler));
		if (i == OFFERS_MAX)
			return err_set(err, ERR_CONFIG,
			    "it has more than %d %s; does their list end with an empty one?", OFFERS_MAX,
			    kinds[kind].catalog);
		if (!handler)
			return err_set(
			    err, ERR_CONFIG, "%s/%.100s has no function", kinds[kind].catalog, text_at(entry, 0));
		if (check_texts(entry, kind, err))
			return -1;
	}
	return 0;
}

/* Looks at the table of a module that is loaded, and keeps what we know of it. */
static int read_table(struct module *m, struct err *err)
{
	const struct mcp_module *table = dlsym(m->handle, SYMBOL);

	if (!table)
		return err_set(err, ERR_CONFIG, "it is no module of mcp-fcgi: it exports no " SYMBOL);
	if (table->abi != MCP_MODULE_ABI)
		return err_set(err, ERR_CONFIG,
		    "it is built for ABI %u of <mcp-fcgi/module.h>, and this is ABI %d: build it again with the header "
		    "of this version",
		    table->abi, MCP_MODULE_ABI);
	if (check_size("mcp_module", table->size, sizeof(*table), err))
		return -1;
	m->table = *table;
	for (size_t kind = 0; kind < COUNT_OF(kinds); kind++) {
		if (check_size(kinds[kind].name, size_at(table, kinds[kind].size), kinds[kind].known, err) ||
		    check_list(&m->table, kind, err))
			return -1;
	}
	return 0;
}

/* The loader takes what has a name that it knows for what it has under that name: the copy's must be its own for as
 * long as it is loaded, and it is while its descriptor is open. By this name debuggers find it too. */
static int load(struct module *m, struct err *err)
{
	char name[64];
	const char *why;

	snprintf(name, sizeof(name), "/proc/%d/fd/%d", (int)getpid(), m->fd);
	m->handle = dlopen(name, RTLD_NOW | RTLD_LOCAL);
	if (m->handle)
		return read_table(m, err);
	why = dlerror();
	why = why ? why : "it can't be loaded";
	if (strncmp(why, name, strlen(name)) == 0) /* "NAME: invalid ELF header" */
		why += strlen(name) + strspn(why + strlen(name), ": ");
	return err_set(err, ERR_CONFIG, "%s", why);
}

/* Loading it for trial. */

/* In a process of its own: says over fd what is wrong, then one NUL. */
static NORETURN void look_in_child(struct module *m, int fd)
{
	struct err err = {0};
	size_t len;

	if (load(m, &err) == 0)
		err.msg[0] = '\0';
	len = strlen(err.msg) + 1;
	_exit(write(fd, err.msg, len) == (ssize_t)len ? 0 : 1);
}

/* What the child said. -1: it ended, or the time did, before that was all. */
static int hear_child(int fd, char *said, size_t size, bool *is_late)
{
	uint64_t end_ms = now_ms() + LOOK_MAX_MS;
	struct pollfd in = {.fd = fd, .events = POLLIN};
	size_t len = 0;
	ssize_t got = 1;

	while (got > 0 && !memchr(said, '\0', len)) {
		int n = poll(&in, 1, ms_until(end_ms, now_ms()));

		if (n == -1 && errno == EINTR)
			continue;
		*is_late = n == 0;
		got = n == 1 && len < size ? read(fd, said + len, size - len) : 0;
		len += got > 0 ? (size_t)got : 0;
	}
	return memchr(said, '\0', len) ? 0 : -1;
}

static int look(struct module *m, struct err *err)
{
	int fds[2], ret;
	bool is_late = false;
	char said[sizeof(err->msg)];
	pid_t pid;

	if (pipe2(fds, O_CLOEXEC) == -1)
		return err_sys(err, "pipe");
	pid = fork();
	if (pid == 0)
		look_in_child(m, fds[1]);
	close(fds[1]);
	ret = pid == -1 ? err_sys(err, "fork") : hear_child(fds[0], said, sizeof(said), &is_late);
	close(fds[0]);
	if (pid == -1)
		return -1;
	kill(pid, SIGKILL); /* it has nothing to do any more */
	while (waitpid(pid, NULL, 0) == -1 && errno == EINTR)
		;
	if (ret == 0)
		return said[0] ? err_set(err, ERR_CONFIG, "%s", said) : 0;
	if (is_late)
		return err_set(
		    err, ERR_CONFIG, "it was not loaded within %d s: its constructors hang", LOOK_MAX_MS / 1000);
	return err_set(err, ERR_CONFIG, "it crashes or exits while it is loaded");
}

/* The copy. */

static int copy_bytes(int from, int to, off_t size, struct err *err)
{
	char part[65536];
	ssize_t got = 1;

	for (off_t left = size; left > 0 && got > 0; left -= got) {
		got = read(from, part, sizeof(part));
		if (got == -1)
			return err_sys(err, "read");
		for (ssize_t done = 0, n; done < got; done += n) {
			n = write(to, part + done, (size_t)(got - done));
			if (n == -1)
				return err_sys(err, "copy");
		}
	}
	return 0;
}

static int open_copy(struct module *m, struct err *err)
{
	const char *slash = strrchr(m->path, '/');
	int from = open(m->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK), ret = -1;

	if (from == -1 || fstat(from, &m->file) == -1)
		err_sys(err, "%.150s", m->path);
	else if (!S_ISREG(m->file.st_mode) || m->file.st_size > FILE_MAX_BYTES)
		err_set(err, ERR_CONFIG, "%.150s is no shared object", m->path);
	else if ((m->fd = memfd_create(slash ? slash + 1 : m->path, MFD_CLOEXEC)) == -1)
		err_sys(err, "memory for a copy");
	else
		ret = copy_bytes(from, m->fd, m->file.st_size, err);
	if (from != -1)
		close(from);
	return ret;
}

/* Modules by their files. */

static void module_free(struct module *m)
{
	if (m->handle && !m->has_run) {
		dlclose(m->handle);
		m->handle = NULL;
	}
	if (m->fd != -1 && !m->handle)
		close(m->fd);
	for (size_t kind = 0; kind < COUNT_OF(m->offers); kind++)
		mem_free(m->offers[kind].items);
	pthread_mutex_destroy(&m->start_mtx);
	mem_free(m->settings);
	mem_free(m->path);
	mem_free(m);
}

struct module *module_get(struct module *m)
{
	pthread_mutex_lock(&all.mtx);
	m->refs++;
	pthread_mutex_unlock(&all.mtx);
	return m;
}

void module_put(struct module *m)
{
	struct module **at;
	bool is_last;

	if (!m)
		return;
	pthread_mutex_lock(&all.mtx);
	is_last = --m->refs == 0;
	for (at = &all.first; is_last && *at != m; at = &(*at)->next)
		;
	if (is_last)
		*at = m->next;
	pthread_mutex_unlock(&all.mtx);
	if (!is_last)
		return;
	if (m->is_started && m->table.stop)
		m->table.stop(m->state);
	module_free(m);
}

bool module_stop_all(void)
{
	bool is_quiet = true;

	pthread_mutex_lock(&all.mtx);
	for (struct module *m = all.first; m; m = m->next) {
		if (m->running) {
			is_quiet = false;
		} else if (m->is_started && m->table.stop) {
			m->is_started = false;
			m->table.stop(m->state);
		}
	}
	pthread_mutex_unlock(&all.mtx);
	return is_quiet;
}

static bool is_same(const struct module *a, const struct module *b)
{
	const struct stat *x = &a->file, *y = &b->file;

	return strcmp(a->path, b->path) == 0 && strcmp(a->settings, b->settings) == 0 && x->st_dev == y->st_dev &&
	       x->st_ino == y->st_ino && x->st_size == y->st_size && x->st_mtim.tv_sec == y->st_mtim.tv_sec &&
	       x->st_mtim.tv_nsec == y->st_mtim.tv_nsec;
}

/* m, or the same that is loaded already. */
static struct module *join(struct module *m)
{
	struct module *found;

	pthread_mutex_lock(&all.mtx);
	for (found = all.first; found && !is_same(found, m); found = found->next)
		;
	if (found)
		found->refs++;
	pthread_mutex_unlock(&all.mtx);
	if (!found)
		return m;
	module_free(m);
	return found;
}

static int list_offers(struct module *m, struct err *err)
{
	for (size_t kind = 0; kind < COUNT_OF(kinds); kind++) {
		struct module_offers *offers = &m->offers[kind];

		while (entry_at(&m->table, kind, offers->count))
			offers->count++;
		offers->items = mem_alloc(offers->count + 1, sizeof(*offers->items));
		if (!offers->items)
			return out_of_memory(err);
		for (size_t i = 0; i < offers->count; i++) {
			offers->items[i].module = m;
			memcpy(&offers->items[i].handler, entry_at(&m->table, kind, i) + kinds[kind].handler,
			    sizeof(offers->items[i].handler));
		}
	}
	return 0;
}

/* Takes path and settings. */
static struct module *module_new(char *path, char *settings, struct err *err)
{
	struct module *m = path && settings ? mem_alloc(1, sizeof(*m)) : NULL;

	if (!m) {
		mem_free(path);
		mem_free(settings);
		out_of_memory(err);
		return NULL;
	}
	m->path = path;
	m->settings = settings;
	m->fd = -1;
	m->refs = 1;
	pthread_mutex_init(&m->start_mtx, NULL);
	return m;
}

static int load_and_keep(struct module *m, struct err *err)
{
	if (load(m, err) || list_offers(m, err))
		return -1;
	pthread_mutex_lock(&all.mtx);
	m->next = all.first;
	all.first = m;
	pthread_mutex_unlock(&all.mtx);
	return 0;
}

/* Takes path and settings. */
static struct module *open_module(char *path, char *settings, struct err *err)
{
	struct module *m = module_new(path, settings, err), *found;

	if (!m)
		return NULL;
	if (open_copy(m, err) == 0) {
		found = join(m);
		if (found != m)
			return found;
		if (look(m, err) == 0 && load_and_keep(m, err) == 0)
			return m;
	}
	module_free(m);
	return NULL;
}

struct module *module_open_copy(int fd, char *path, char *settings, struct err *err)
{
	struct module *m = module_new(path, settings, err);

	if (!m) {
		close(fd);
		return NULL;
	}
	m->fd = fd;
	if (load_and_keep(m, err) == 0)
		return m;
	module_free(m);
	return NULL;
}

/* What the configuration says. */

static int check_entry(struct cfg *cfg, json_object *entry, const char *pointer)
{
	json_object *timeout = jx_get(entry, "timeout_s");
	struct slice file = jx_get_str(entry, "file");
	int64_t timeout_s = jx_is_integer(timeout) ? json_object_get_int64(timeout) : 0;
	int bad;

	if (!json_object_is_type(entry, json_type_object)) {
		cfg_complain(cfg, pointer, "a module is described by an object, as in {\"file\": \"hello.so\"}");
		return -1;
	}
	bad = cfg_complain_unknown(cfg, pointer, entry, entry_members);
	if (file.len == 0 || strlen(file.p) != file.len)
		bad = cfg_complain_at(cfg, pointer, "file", "file must be the name of a shared object");
	if (jx_has(entry, "timeout_s") && (timeout_s < 1 || timeout_s > 86400))
		bad = cfg_complain_at(cfg, pointer, "timeout_s", "timeout_s must be a whole number, 1 to 86400 s");
	return bad;
}

static char *settings_text(json_object *entry)
{
	struct buf text;

	buf_init(&text, SIZE_MAX / 2);
	jx_write(&text, jx_get(entry, "settings"));
	if (text.fault)
		buf_release(&text);
	return text.data; /* the buffer's memory is the caller's now */
}

static void put_userdata(json_object *entry, void *m)
{
	(void)entry;
	module_put(m);
}

static int load_entry(struct cfg *cfg, json_object *entry, const char *pointer, struct err *err)
{
	struct module *m;
	char *path;

	if (check_entry(cfg, entry, pointer))
		return err_set(err, ERR_CONFIG, "bad module");
	path = cfg_path_join(cfg_dir_of(cfg, pointer), jx_get_str(entry, "file").p);
	if (path && sources_add(&cfg->sources, path, err)) {
		mem_free(path);
		return -1;
	}
	m = open_module(path, settings_text(entry), err);
	if (m)
		json_object_set_userdata(entry, m, put_userdata); /* lives as long as the configuration */
	else if (err->code != ERR_NOMEM)
		cfg_complain_at(cfg, pointer, "file", "%s", err->msg);
	return m ? 0 : -1;
}

/* One definition of what a module offers. The caller owns it. NULL: complained about, or ERR_NOMEM. */
static json_object *define(struct cfg *cfg, json_object *config, const char *pointer, size_t kind, const char *entry,
    struct module_offer *offer, struct err *err)
{
	const char *members = text_at(entry, kinds[kind].members);
	const char *description = text_at(entry, kinds[kind].description);
	const char *text = kinds[kind].text.member ? text_at(entry, kinds[kind].text.offset) : NULL;
	const char *json = kinds[kind].json.member ? text_at(entry, kinds[kind].json.offset) : NULL;
	json_object *def = jx_parse(slice_str(members ? members : "{}"), DEFINITION_DEPTH_MAX, err);
	json_object *val = json && def ? jx_parse(slice_str(json), DEFINITION_DEPTH_MAX, err) : NULL;
	json_object *mark = json_object_new_string("");
	int bad = 0;

	if (!json_object_is_type(def, json_type_object)) {
		if (def || err->code != ERR_NOMEM)
			cfg_complain_at(cfg, pointer, "members", "its members are no JSON object%s%s", def ? "" : ": ",
			    def ? "" : err->msg);
		bad = -1;
	} else if (json && !val) {
		if (err->code != ERR_NOMEM)
			cfg_complain_at(cfg, pointer, kinds[kind].json.member, "it is not JSON: %s", err->msg);
		bad = -1;
	}
	if (!bad && mark)
		json_object_set_userdata(mark, offer, NULL);
	bad = bad ? bad : jx_add(def, "module", json_object_get(mark), err);
	if (!bad && val)
		bad = jx_add(def, kinds[kind].json.member, json_object_get(val), err);
	if (!bad && description)
		bad = jx_add_str(def, "description", description, err);
	if (!bad && text)
		bad = jx_add_str(def, kinds[kind].text.member, text, err);
	if (!bad && jx_has(config, "timeout_s") && !jx_has(def, "timeout_s"))
		bad = jx_add(def, "timeout_s", json_object_get(jx_get(config, "timeout_s")), err);
	json_object_put(mark);
	json_object_put(val);
	if (!bad)
		return def;
	json_object_put(def);
	return NULL;
}

const struct module_offer *module_offer_of(json_object *def)
{
	json_object *mark = jx_get(def, "module");

	return json_object_is_type(mark, json_type_string) ? json_object_get_userdata(mark) : NULL;
}

/* pointer is the module's; one that was not loaded has no offers. */
static int each_offer(struct cfg *cfg, json_object *config, struct buf *pointer, enum definition_kind kind,
    int (*add)(void *set, const struct definition *d, struct slice name, struct err *err), void *set, struct err *err)
{
	struct module *m = json_object_is_type(config, json_type_object) ? json_object_get_userdata(config) : NULL;
	size_t mark = pointer->len;
	const char *entry;
	int ret = 0;

	for (size_t i = 0; m && ret == 0 && (entry = entry_at(&m->table, kind, i)); i++) {
		struct slice name = slice_str(text_at(entry, 0));
		struct definition d = {.cfg = cfg};

		pointer->len = mark;
		buf_addf(pointer, "/%s", kinds[kind].catalog);
		jx_add_pointer(pointer, name);
		ret = buf_check(pointer, err);
		if (ret)
			break;
		d.pointer = pointer->data;
		d.def = define(cfg, config, d.pointer, kind, entry, &m->offers[kind].items[i], err);
		ret = d.def ? add(set, &d, name, err) : -1;
		ret = ret && err->code == ERR_NOMEM ? -1 : 0;
		json_object_put(d.def);
	}
	return ret;
}

int module_each(struct cfg *cfg, enum definition_kind kind,
    int (*add)(void *set, const struct definition *d, struct slice name, struct err *err), void *set, struct err *err)
{
	struct buf pointer;
	int ret = 0;

	buf_init(&pointer, SIZE_MAX / 2);
	json_object_object_foreach(cfg->modules, name, config) {
		buf_clear(&pointer);
		buf_adds(&pointer, "/modules");
		jx_add_pointer(&pointer, slice_str(name));
		ret = buf_check(&pointer, err);
		/* Tools are the first that anybody asks for. A module that is complained about is null from then on. */
		if (ret == 0 && kind == DEFINITION_TOOL && load_entry(cfg, config, pointer.data, err)) {
			ret = err->code == ERR_NOMEM ? -1 : 0;
			json_object_object_add(cfg->modules, name, NULL);
		} else if (ret == 0) {
			ret = each_offer(cfg, config, &pointer, kind, add, set, err);
		}
		if (ret)
			break;
	}
	buf_release(&pointer);
	return ret;
}
