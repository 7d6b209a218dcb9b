#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/jx.h"
#include "common/link.h"
#include "common/mem.h"
#include "ctl/http_unix.h"
#include "ctl/mdoc.h"
#include "ctl/status.h"
#include "common/banned.h"

#define ANSWER_MAX ((size_t)512 << 20) /* a million sessions */
#define DEPTH_MAX  8
#define COLUMN     17 /* where values stand */

/* Asking. */

/* The user's name, or number. */
static const char *user_name(uid_t uid, char *out, size_t size)
{
	const struct passwd *pw = getpwuid(uid);

	if (pw)
		snprintf(out, size, "%s", pw->pw_name);
	else
		snprintf(out, size, "%ju", (uintmax_t)uid);
	return out;
}

/* Who may, as far as we can see: the owner of path, or else of its directory. */
static const char *owner_name(const char *path, const struct cfg *cfg, char *out, size_t size)
{
	struct stat st;

	if (stat(path, &st) && stat(cfg->run_dir, &st))
		return "the broker's user";
	return user_name(st.st_uid, out, size);
}

static void explain_no_broker(const char *path, const struct cfg *cfg)
{
	char owner[64], me[64];

	switch (errno) {
	case ENOENT:
	case ECONNREFUSED:
		fprintf(stderr,
		    "mcpctl: no broker runs: nobody answers at %s\n"
		    "A worker starts one when it needs it (broker_autostart is %s); or start it: mcp-broker --conf "
		    "%s\n",
		    path, cfg->broker_autostart ? "true" : "false", cfg->file);
		break;
	case EACCES:
	case EPERM:
		fprintf(stderr, "mcpctl: %s: you are %s, and may not; become %s or root\n", path,
		    user_name(geteuid(), me, sizeof(me)), owner_name(path, cfg, owner, sizeof(owner)));
		break;
	case ENAMETOOLONG:
		fprintf(stderr, "mcpctl: run_dir: %s is longer than a socket's path may be\n", path);
		break;
	default:
		fprintf(stderr, "mcpctl: %s: %s\n", path, strerror(errno));
	}
}

/* Its status; *body is lent out of *answer, which is to be released. 0: it was said why there is none. */
static int ask(const struct cfg *cfg, const char *method, const char *what, struct buf *answer, struct slice *body)
{
	char *path = cfg_path_join(cfg->run_dir, LINK_ADMIN_NAME), me[64], owner[64];
	struct buf request;
	struct err err = {0};
	int fd = -1, status = 0;

	buf_init(answer, ANSWER_MAX);
	buf_init(&request, 1024);
	buf_addf(&request, "%s %s HTTP/1.0\r\n\r\n", method, what);
	if (!path || request.fault) {
		fprintf(stderr, "mcpctl: out of memory\n");
		goto out;
	}
	fd = http_unix_open(path);
	if (fd == -1) {
		explain_no_broker(path, cfg);
		goto out;
	}
	if (http_unix_ask(fd, buf_slice(&request), answer, &err)) {
		fprintf(stderr, "mcpctl: %s: the broker: %s\n", path, err.msg);
		goto out;
	}
	*body = buf_slice(answer);
	status = http_unix_cut_head(body);
	if (answer->len == 0)
		fprintf(stderr,
		    "mcpctl: %s: the broker, of user %s, does not let %s ask: become %s or root, or name that user in "
		    "broker_peer_uids\n",
		    path, owner_name(path, cfg, owner, sizeof(owner)), user_name(geteuid(), me, sizeof(me)), owner);
	else if (status == 0)
		fprintf(stderr, "mcpctl: %s: what answers there is no broker\n", path);
out:
	if (fd != -1)
		close(fd);
	buf_release(&request);
	mem_free(path);
	return status;
}

static int finish_output(void)
{
	if (fflush(stdout) == 0 && !ferror(stdout))
		return EXIT_SUCCESS;
	perror("mcpctl: write");
	return EXIT_FAILURE;
}

/* Asks for a page, and shows it as it came, or by show(). */
static int get(const struct cfg *cfg, const char *method, const char *what, void (*show)(json_object *json))
{
	struct err err = {0};
	struct slice body;
	struct buf answer;
	json_object *json;
	int ret = EXIT_FAILURE, status = ask(cfg, method, what, &answer, &body);

	if (status != 0 && status != 200) {
		fprintf(stderr, "mcpctl: the broker says %d: %.*s", status, (int)body.len, body.p);
	} else if (status == 200 && !show) {
		fwrite(body.p, 1, body.len, stdout);
		ret = finish_output();
	} else if (status == 200) {
		json = jx_parse(body, DEPTH_MAX, &err);
		if (json) {
			show(json);
			ret = finish_output();
		} else {
			fprintf(stderr, "mcpctl: %s: not whole, or not JSON: %s\n", what, err.msg);
		}
		json_object_put(json);
	}
	buf_release(&answer);
	return ret;
}

/* Showing. */

static int64_t get_int(json_object *obj, const char *key)
{
	return json_object_get_int64(jx_get(obj, key));
}

/* For a terminal: what would move its cursor becomes '?'. */
static void put_text(struct slice s, int width)
{
	int column = 0;

	for (size_t i = 0; i < s.len; i++) {
		unsigned char c = (unsigned char)s.p[i];
		bool is_c1 = c == 0xc2 && i + 1 < s.len && (unsigned char)s.p[i + 1] < 0xa0;

		putchar(c < 0x20 || c == 0x7f || is_c1 ? '?' : c);
		i += is_c1;
		column += (c & 0xc0) != 0x80;
	}
	printf("%*s", column < width ? width - column : 0, "");
}

static void format_bytes(char *out, size_t size, int64_t bytes)
{
	static const char *const units[] = {"B", "KiB", "MiB", "GiB"};
	double n = (double)bytes;
	unsigned unit = 0;

	for (; n >= 1024 && unit + 1 < COUNT_OF(units); unit++)
		n /= 1024;
	snprintf(out, size, unit ? "%.1f %s" : "%.0f %s", n, units[unit]);
}

static void format_seconds(char *out, size_t size, int64_t s)
{
	if (s >= 86400)
		snprintf(out, size, "%jd d %jd h", (intmax_t)(s / 86400), (intmax_t)(s / 3600 % 24));
	else if (s >= 3600)
		snprintf(out, size, "%jd h %jd min", (intmax_t)(s / 3600), (intmax_t)(s / 60 % 60));
	else if (s >= 60)
		snprintf(out, size, "%jd min %jd s", (intmax_t)(s / 60), (intmax_t)(s % 60));
	else
		snprintf(out, size, "%jd s", (intmax_t)s);
}

static void put_name(const char *name)
{
	printf("%-*s", COLUMN, name);
}

/* "name  3 of 10" */
static void put_share(const char *name, int64_t n, int64_t max)
{
	put_name(name);
	printf("%jd of %jd\n", (intmax_t)n, (intmax_t)max);
}

/* "name  label 3, label 4": those that are not 0. */
static void put_labels(const char *name, json_object *labels)
{
	const char *before = "";

	put_name(name);
	json_object_object_foreach(labels, label, value) {
		if (json_object_get_int64(value) == 0)
			continue;
		printf("%s%s %jd", before, label, (intmax_t)json_object_get_int64(value));
		before = ", ";
	}
	puts(*before ? "" : "none");
}

static void put_ms(json_object *obj, const char *key, const char *before)
{
	printf("%s%.2f ms", before, json_object_get_double(jx_get(obj, key)) * 1000);
}

static void put_times(const char *name, json_object *times)
{
	put_name(name);
	if (get_int(times, "count") == 0) {
		puts("none");
		return;
	}
	put_ms(times, "p50_s", "half within ");
	put_ms(times, "p99_s", ", 99 % within ");
	printf(" (%jd)\n", (intmax_t)get_int(times, "count"));
}

static void put_work(const char *what, json_object *list)
{
	size_t count = list ? json_object_array_length(list) : 0;

	if (count == 0)
		return;
	printf("\n%-28s %-10s %10s %12s %12s %12s\n", what, "OUTCOME", "COUNT", "MEAN ms", "50 % ms", "99 % ms");
	for (size_t i = 0; i < count; i++) {
		json_object *row = json_object_array_get_idx(list, i);
		struct slice name = jx_get_str(row, "name"), outcome = jx_get_str(row, "outcome");
		double n = (double)get_int(row, "count");

		put_text(name, 29);
		put_text(outcome, 11);
		printf("%10.0f %12.3f %12.3f %12.3f\n", n, json_object_get_double(jx_get(row, "sum_s")) * 1000 / n,
		    json_object_get_double(jx_get(row, "p50_s")) * 1000,
		    json_object_get_double(jx_get(row, "p99_s")) * 1000);
	}
}

static void show_status(json_object *json)
{
	json_object *counts = jx_get_object(json, "counts");
	struct slice version = jx_get_str(json, "version"), store = jx_get_str(json, "store");
	char text[64], max[64];

	format_seconds(text, sizeof(text), get_int(json, "up_s"));
	printf("mcp-broker %.*s, process %jd, up %s, store %.*s%s%s\n\n", (int)version.len, version.p,
	    (intmax_t)get_int(json, "pid"), text, (int)store.len, store.p,
	    get_int(counts, "store_stalled") ? ", WHICH CAN'T WRITE" : "",
	    get_int(counts, "draining") ? ", about to end" : "");
	put_share("sessions", get_int(counts, "sessions"), get_int(json, "session_max"));
	put_share("streams", get_int(counts, "streams"), get_int(json, "stream_max"));
	put_share("tasks", get_int(counts, "tasks"), get_int(json, "task_max"));
	put_name("connections");
	printf("%jd\n", (intmax_t)get_int(counts, "connections"));
	put_labels("calls", jx_get_object(counts, "calls"));
	put_name("subscriptions");
	printf("%jd of %jd topics\n", (intmax_t)get_int(counts, "subscriptions"), (intmax_t)get_int(counts, "topics"));
	put_name("processes");
	printf("%jd\n", (intmax_t)get_int(counts, "producers"));
	format_bytes(text, sizeof(text), get_int(counts, "log_bytes"));
	format_bytes(max, sizeof(max), get_int(json, "log_max_bytes"));
	put_name("log");
	printf("%s of %s\n", text, max);
	put_name("descriptors");
	printf("%jd of %jd free\n\n", (intmax_t)get_int(counts, "descriptors_free"),
	    (intmax_t)get_int(counts, "descriptors_max"));

	put_name("events");
	printf("%jd added, %jd delivered, %jd replayed\n", (intmax_t)get_int(counts, "events_appended_total"),
	    (intmax_t)get_int(counts, "events_delivered_total"), (intmax_t)get_int(counts, "events_replayed_total"));
	put_times("  delivered", jx_get_object(counts, "deliver_seconds"));
	put_times("  committed", jx_get_object(counts, "commit_seconds"));
	put_name("notifications");
	printf("%jd, %jd conflated\n", (intmax_t)get_int(counts, "notifications_total"),
	    (intmax_t)get_int(counts, "notifications_conflated_total"));
	put_name("adopted");
	printf("%jd\n", (intmax_t)get_int(counts, "adoptions_total"));
	put_labels("refused", jx_get_object(counts, "refusals_total"));
	put_labels("resumed", jx_get_object(counts, "resumes_total"));
	put_labels("closed", jx_get_object(counts, "closes_total"));
	put_labels("NACKs", jx_get_object(counts, "nacks_total"));
	put_name("credit waits");
	printf("%jd\n", (intmax_t)get_int(counts, "credit_waits_total"));
	put_name("killed");
	printf("%jd sessions\n", (intmax_t)get_int(counts, "sessions_killed_total"));
	put_work("REQUEST", jx_get_array(counts, "request_seconds"));
	put_work("TASK", jx_get_array(counts, "job_seconds"));
	put_work("HTTP API", jx_get_array(counts, "api_seconds"));
}

static int by_number(const void *a, const void *b, const char *key)
{
	int64_t m = get_int(*(json_object *const *)a, key), n = get_int(*(json_object *const *)b, key);

	return m < n ? -1 : m > n;
}

static int by_idle(const void *a, const void *b)
{
	return by_number(a, b, "idle_s");
}

static int by_stream(const void *a, const void *b)
{
	return by_number(a, b, "stream");
}

static void show_sessions(json_object *json)
{
	json_object *list = jx_get_array(json, "sessions");
	size_t count = list ? json_object_array_length(list) : 0;
	char idle[64];

	if (list)
		json_object_array_sort(list, by_idle);
	printf(
	    "%-10s %12s %8s %6s %6s %12s  %s\n", "SESSION", "IDLE", "STREAMS", "CONNS", "CALLS", "UNREAD", "PRINCIPAL");
	for (size_t i = 0; i < count; i++) {
		json_object *s = json_object_array_get_idx(list, i);
		char bytes[64];

		format_seconds(idle, sizeof(idle), get_int(s, "idle_s"));
		format_bytes(bytes, sizeof(bytes), get_int(s, "undelivered_bytes"));
		put_text(jx_get_str(s, "id"), 10);
		printf(" %12s %8jd %6jd %6jd %12s  ", idle, (intmax_t)get_int(s, "streams"),
		    (intmax_t)get_int(s, "connections"), (intmax_t)get_int(s, "calls"), bytes);
		put_text(jx_get_str(s, "principal"), 0);
		putchar('\n');
	}
}

static void show_streams(json_object *json)
{
	json_object *list = jx_get_array(json, "streams");
	size_t count = list ? json_object_array_length(list) : 0;

	if (list)
		json_object_array_sort(list, by_stream);
	printf("%-16s %-10s %-8s %-9s %-5s %10s %10s %12s %12s\n", "STREAM", "SESSION", "KIND", "STATE", "READ", "LAST",
	    "DELIVERED", "KEPT", "UNREAD");
	for (size_t i = 0; i < count; i++) {
		json_object *s = json_object_array_get_idx(list, i);
		char kept[64], unread[64];

		format_bytes(kept, sizeof(kept), get_int(s, "bytes"));
		format_bytes(unread, sizeof(unread), get_int(s, "undelivered_bytes"));
		printf("%-16jd ", (intmax_t)get_int(s, "stream"));
		put_text(jx_get(s, "session") ? jx_get_str(s, "session") : SLICE("-"), 11);
		put_text(jx_get_str(s, "kind"), 9);
		put_text(jx_get_str(s, "state"), 10);
		printf("%-5s %10jd %10jd %12s %12s\n", json_object_get_boolean(jx_get(s, "connected")) ? "yes" : "no",
		    (intmax_t)get_int(s, "last"), (intmax_t)get_int(s, "delivered"), kept, unread);
	}
}

/* The commands. */

/* What the broker counts, for its manual page. */
static const struct {
	const char *name, *kind, *labels, *help;
} metrics[] = {
#define STAT(id, kind, name, labels, help) {name, #kind, labels, help},
#include "broker/stats_tbl.h"
#undef STAT
};

void status_put_mdoc(struct buf *out)
{
	buf_adds(out, ".Bl -tag -width Ds\n");
	for (size_t i = 0; i < COUNT_OF(metrics); i++) {
		const char *quote = strchr(metrics[i].labels, '"');
		bool begins = i == 0 || strcmp(metrics[i].name, metrics[i - 1].name) != 0;

		if (begins)
			buf_addf(out, ".It Va mcp_%s Pq %s\n", metrics[i].name,
			    strcmp(metrics[i].kind, "COUNTER") == 0 ? "counter"
			    : strcmp(metrics[i].kind, "GAUGE") == 0 ? "gauge"
								    : "histogram");
		if (begins)
			mdoc_add_text(out, metrics[i].help), buf_adds(out, ".\n");
		if (begins && quote)
			buf_addf(out, "By\n.Va %.*s :\n", (int)strcspn(metrics[i].labels, "="), metrics[i].labels);
		if (quote)
			buf_addf(out, ".Sy %.*s%s\n", (int)strcspn(quote + 1, "\""), quote + 1,
			    i + 1 < COUNT_OF(metrics) && strcmp(metrics[i].name, metrics[i + 1].name) == 0 ? " ,"
													   : " .");
	}
	buf_adds(out, ".El\n");
}

int status_show(const struct cfg *cfg, bool as_json)
{
	return get(cfg, "GET", "/status", as_json ? NULL : show_status);
}

int status_sessions(const struct cfg *cfg, bool as_json)
{
	return get(cfg, "GET", "/sessions", as_json ? NULL : show_sessions);
}

int status_streams(const struct cfg *cfg, bool as_json)
{
	return get(cfg, "GET", "/streams", as_json ? NULL : show_streams);
}

int status_metrics(const struct cfg *cfg)
{
	return get(cfg, "GET", "/metrics", NULL);
}

int status_kill(const struct cfg *cfg, const char *prefix)
{
	char what[LINK_KEY_MAX + 32];
	struct slice body;
	struct buf answer;
	int status;

	if (strlen(prefix) < 4 || strlen(prefix) > LINK_KEY_MAX || strpbrk(prefix, " /?#%\r\n\t")) {
		fprintf(stderr, "mcpctl: %s: how a session's id begins, in 4 characters or more; see mcpctl sessions\n",
		    prefix);
		return EXIT_FAILURE;
	}
	snprintf(what, sizeof(what), "/sessions/%s", prefix);
	status = ask(cfg, "DELETE", what, &answer, &body);
	if (status != 0 && status != 200)
		fprintf(stderr, "mcpctl: %s: %.*s", prefix, (int)body.len, body.p);
	buf_release(&answer);
	return status == 200 ? EXIT_SUCCESS : EXIT_FAILURE;
}

static void show_restart(json_object *json)
{
	printf("mcp-broker %s, pid %jd, serves after a pause of %jd ms; ", json_object_get_string(jx_get(json, "version")),
	    (intmax_t)get_int(json, "pid"), (intmax_t)get_int(json, "pause_ms"));
	printf("taken over: %jd sessions, %jd streams, %jd connections, %jd calls, %jd tasks\n",
	    (intmax_t)get_int(json, "sessions"), (intmax_t)get_int(json, "streams"),
	    (intmax_t)get_int(json, "connections"), (intmax_t)get_int(json, "calls"), (intmax_t)get_int(json, "tasks"));
}

int status_restart(const struct cfg *cfg, bool as_json)
{
	return get(cfg, "POST", "/restart", as_json ? NULL : show_restart);
}
