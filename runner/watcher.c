#include "config.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "common/log.h"
#include "common/mem.h"
#include "fcgi/topic.h"
#include "fcgi/uri_template.h"
#include "runner/watch.h"
#include "runner/watcher.h"
#include "common/banned.h"

struct watcher {
	const struct worker *w; /* borrowed */
	struct watch *watch;    /* of the thread, once that runs */
	pthread_t thread;
	bool is_running;
	int stop_fd;
	bool is_unheard; /* in this turn the broker couldn't be told something: it isn't tried again for the rest */
};

static int publish(struct watcher *watcher, const struct resource *resource, struct slice path, struct err *err)
{
	struct buf uri;
	int ret;

	if (!path.p)
		return topic_publish_list(watcher->w->link, TOPIC_RESOURCES, NULL, NULL, err);
	buf_init(&uri, 4 * URI_TEMPLATE_URI_MAX);
	ret = resource->provider->resource_uri(resource, path, &uri, err);
	if (ret == 0)
		ret = topic_publish_resource(watcher->w->link, buf_slice(&uri), NULL, NULL, err);
	buf_release(&uri);
	return ret;
}

/* One file that comes and goes stands in the list all the same. */
static void on_changed(void *arg, const void *owner, struct slice path)
{
	struct watcher *watcher = arg;
	const struct resource *resource = owner;
	struct err err = {0};

	if (watcher->is_unheard || (!path.p && !resource->template))
		return;
	if (publish(watcher, resource, path, &err) == 0 || err.code == ERR_NOT_FOUND || err.code == ERR_TOO_BIG)
		return; /* too long a URI: nobody can have subscribed to it */
	watcher->is_unheard = true;
	LOG(WARN, "watcher.unheard", "resource=\"%s\" why=\"%s\" effect=\"subscribers are not told\"", resource->uri,
	    err.msg);
}

static void *run(void *arg)
{
	struct watcher *watcher = arg;
	struct pollfd fds[] = {
	    {.fd = watcher->stop_fd, .events = POLLIN}, {.fd = watch_fd(watcher->watch), .events = POLLIN}};

	for (;;) {
		int ready = poll(fds, COUNT_OF(fds), watch_wait_ms(watcher->watch, now_ms()));

		if ((ready == -1 && errno != EINTR) || (ready > 0 && fds[0].revents))
			return NULL;
		watcher->is_unheard = false;
		watch_take(watcher->watch, now_ms(), on_changed, watcher);
	}
}

/* The trees of count resources. *found: there are some. */
static int add_trees(
    struct watcher *watcher, const struct resource *resources, size_t count, bool *found, struct err *err)
{
	for (size_t i = 0; i < count; i++) {
		const struct resource *resource = &resources[i];
		const struct filetree *tree =
		    resource->provider->resource_watch ? resource->provider->resource_watch(resource) : NULL;

		if (tree && watch_add(watcher->watch, tree, resource, err))
			return -1;
		*found = *found || tree;
	}
	return 0;
}

static int start(struct watcher *watcher, bool *found, struct err *err)
{
	const struct resourceset *set = &watcher->w->resources;
	int why;

	watcher->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (watcher->stop_fd == -1)
		return err_sys(err, "eventfd");
	watcher->watch = watch_new((size_t)watcher->w->cfg.file_watches_max, err);
	if (!watcher->watch || add_trees(watcher, set->fixed, set->fixed_count, found, err) ||
	    add_trees(watcher, set->templates, set->templates_count, found, err))
		return -1;
	if (!*found)
		return 0;
	why = pthread_create(&watcher->thread, NULL, run, watcher);
	watcher->is_running = why == 0;
	errno = why;
	return why ? err_sys(err, "a thread") : 0;
}

int watcher_start(struct watcher **wp, const struct worker *w, struct err *err)
{
	struct watcher *watcher = *wp = NULL;
	bool found = false;
	int ret;

	if (w->cfg.file_watches_max == 0)
		return 0;
	watcher = mem_alloc(1, sizeof(*watcher));
	if (!watcher)
		return err_set(err, ERR_NOMEM, "a watcher of files");
	watcher->w = w;
	watcher->stop_fd = -1;
	ret = start(watcher, &found, err);
	if (ret || !found)
		watcher_end(&watcher);
	*wp = watcher;
	return ret;
}

void watcher_end(struct watcher **wp)
{
	struct watcher *watcher = *wp;

	if (!watcher)
		return;
	*wp = NULL;
	if (watcher->is_running) {
		eventfd_write(watcher->stop_fd, 1);
		pthread_join(watcher->thread, NULL);
	}
	watch_free(&watcher->watch);
	if (watcher->stop_fd != -1)
		close(watcher->stop_fd);
	mem_free(watcher);
}
