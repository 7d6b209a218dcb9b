#include "config.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/log.h"
#include "common/mem.h"
#include "fcgi/changes.h"
#include "fcgi/topic.h"
#include "common/banned.h"

#define FILE_NAME "offered"

/* The file: for each enum topic_list the digest of its listings, in a line. */
struct offered {
	char lines[TOPIC_LIST__COUNT][17];
};

static void set_line(struct offered *o, enum topic_list list, const char *digest)
{
	memcpy(o->lines[list], digest, sizeof(o->lines[list]) - 1);
	o->lines[list][sizeof(o->lines[list]) - 1] = '\n';
}

/* Replaces what the file says. *before is what it said, *is_known whether it did. Processes take turns, so that one of
 * them sees the difference. */
static int swap(const char *path, const struct offered *now, struct offered *before, bool *is_known, struct err *err)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600), ret = 0;

	if (fd == -1)
		return err_sys(err, "open %s", path);
	if (flock(fd, LOCK_EX) == -1) {
		ret = err_sys(err, "lock %s", path);
	} else {
		*is_known = pread(fd, before, sizeof(*before), 0) == sizeof(*before);
		if (pwrite(fd, now, sizeof(*now), 0) != sizeof(*now))
			ret = err_sys(err, "write %s", path);
	}
	close(fd);
	return ret;
}

/* Without a broker nobody listens. */
static bool has_broker(const struct cfg *cfg)
{
	char *path = cfg_path_join(cfg->run_dir, LINK_CTL_NAME);
	bool found = path && access(path, F_OK) == 0;

	mem_free(path);
	return found;
}

void changes_tell(const struct worker *w)
{
	char *path = cfg_path_join(w->cfg.run_dir, FILE_NAME);
	struct offered now, before;
	struct err err = {0};
	bool is_known = false;

	set_line(&now, TOPIC_TOOLS, w->tools.digest);
	set_line(&now, TOPIC_PROMPTS, w->prompts.digest);
	set_line(&now, TOPIC_RESOURCES, w->resources.digest);
	/* A broker of ours would make the directory; another one's is there, or nobody can have been told anything. */
	if (!path || (w->cfg.broker_autostart && cfg_make_run_dir(&w->cfg, &err)) ||
	    swap(path, &now, &before, &is_known, &err)) {
		LOG(DEBUG, "changes.unknown", "why=\"%s\"", path ? err.msg : "out of memory");
		is_known = false;
	}
	mem_free(path);
	for (int i = 0; is_known && i < TOPIC_LIST__COUNT; i++) {
		enum topic_list list = (enum topic_list)i;

		if (memcmp(now.lines[i], before.lines[i], sizeof(now.lines[i])) == 0 || !topic_list_offered(w, list) ||
		    !has_broker(&w->cfg))
			continue;
		LOG(INFO, "changes.list", "list=%s", topic_list_name(list).p);
		if (topic_publish_list(w->link, list, NULL, NULL, &err))
			LOG(WARN, "changes.failed", "list=%s why=\"%s\"", topic_list_name(list).p, err.msg);
	}
}
