/* What the broker counts, without a broker: buckets, the rows as text and as JSON, and requests of the admin socket. */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>

#include "broker/admin_request.h"
#include "broker/broker.h"
#include "common/jx.h"
#include "common/link.h"
#include "tests/lib/no_bus.h"
#include "tests/lib/prometheus.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

static const struct {
	const char *name, *labels, *help, *kind;
} rows[] = {
#define STAT(id, kind, name, labels, help) {"mcp_" name, labels, help, #kind},
#include "broker/stats_tbl.h"
#undef STAT
};

static void values_fall_into_their_buckets(void **state)
{
	static const struct {
		uint64_t us;
		unsigned bucket;
	} cases[] = {
	    {0, 0},
	    {1, 0},
	    {16, 0},
	    {17, 1},
	    {32, 1},
	    {33, 2},
	    {1000, 6},
	    {1024, 6},
	    {1025, 7},
	    {134217728, 23},
	    {134217729, 24},
	    {UINT64_MAX, 24},
	};
	struct histogram h = {0};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		if (histogram_bucket(cases[i].us) != cases[i].bucket)
			fail_msg("%" PRIu64 " us: bucket %u", cases[i].us, histogram_bucket(cases[i].us));
		if (cases[i].bucket + 1 < HISTOGRAM_BUCKETS)
			assert_true(cases[i].us <= histogram_bound_us(cases[i].bucket));
		if (cases[i].bucket > 0)
			assert_true(cases[i].us > histogram_bound_us(cases[i].bucket - 1));
	}
	histogram_add(&h, 20);
	histogram_add(&h, 5000000);
	assert_int_equal(histogram_count(&h), 2);
	assert_int_equal(h.sum_us, 5000020);
}

static void the_rows_are_fit_to_be_shown(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		bool is_first = i == 0 || strcmp(rows[i].name, rows[i - 1].name) != 0;
		bool is_total = strstr(rows[i].name, "_total") != NULL;

		for (size_t j = 0; is_first && j < i; j++) {
			if (strcmp(rows[j].name, rows[i].name) == 0)
				fail_msg("rows of %s stand apart", rows[i].name);
		}
		if (is_first != (rows[i].help[0] != '\0') || strpbrk(rows[i].help, "\\\n"))
			fail_msg("%s: the first row, and no other, has help of one line", rows[i].name);
		if (is_total != (strcmp(rows[i].kind, "COUNTER") == 0))
			fail_msg("%s: counters, and no others, end with _total", rows[i].name);
	}
	for (unsigned code = LINK_NACK_BUSY; code < LINK_NACK__COUNT; code++) {
		char want[64];

		snprintf(want, sizeof(want), "code=\"%s\"", link_nack_name(code));
		assert_string_equal(rows[STAT_NACK_BUSY + code - LINK_NACK_BUSY].labels, want);
	}
}

static void set_up(struct cfg *cfg, struct broker *b)
{
	struct histogram took = {0};

	assert_int_equal(cfg_init(cfg, NULL), 0);
	assert_int_equal(no_bus_open(b, cfg), 0);
	for (enum stats_row i = 0; i < STAT__COUNT; i++)
		stats_add(&b->stats, i, 1000 + i);
	histogram_add(&b->stats.deliver, 100);
	histogram_add(&b->stats.deliver, 1 << 30);
	for (unsigned i = 0; i < 99; i++)
		histogram_add(&b->stats.commit, 17);
	histogram_add(&b->stats.commit, 3000000);
	histogram_add(&took, 40);
	for (unsigned i = 0; i < 3; i++)
		stats_add_work(&b->stats, SLICE("tools/call"), LINK_OUTCOME_OK, &took);
	stats_add_work(&b->stats, SLICE("tools/call"), LINK_OUTCOME_ERROR, &took);
	stats_add_work(&b->stats, SLICE(LINK_STATS_JOB), LINK_OUTCOME_CANCELLED, &took);
	stats_add_work(&b->stats, SLICE("api/stale"), LINK_OUTCOME_OK, &took);
}

static void tear_down(struct cfg *cfg, struct broker *b)
{
	broker_release(b);
	cfg_release(cfg);
}

static void metrics_are_prometheus_text(void **state)
{
	struct broker b;
	struct cfg cfg;
	struct buf out;
	const char *why;

	(void)state;
	set_up(&cfg, &b);
	buf_init(&out, 1 << 20);
	stats_put_metrics(&b, &out);
	assert_int_equal(buf_check(&out, NULL), 0);
	why = prometheus_check(out.data);
	if (why)
		fail_msg("%s", why);
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		char sample[256];
		double value;

		if (strcmp(rows[i].kind, "HISTOGRAM") == 0 || strcmp(rows[i].kind, "WORK") == 0)
			continue;
		snprintf(sample, sizeof(sample), "%s%s%s%s", rows[i].name, rows[i].labels[0] ? "{" : "", rows[i].labels,
		    rows[i].labels[0] ? "}" : "");
		value = prometheus_value(out.data, sample);
		if (strcmp(rows[i].kind, "COUNTER") == 0 ? (size_t)value != 1000 + i : value < 0)
			fail_msg("%s is %g", sample, value);
	}
	assert_true(prometheus_value(out.data, "mcp_deliver_seconds_bucket{le=\"0.000064\"}") == 0);
	assert_true(prometheus_value(out.data, "mcp_deliver_seconds_bucket{le=\"0.000128\"}") == 1);
	assert_true(prometheus_value(out.data, "mcp_deliver_seconds_bucket{le=\"134.217728\"}") == 1);
	assert_true(prometheus_value(out.data, "mcp_deliver_seconds_bucket{le=\"+Inf\"}") == 2);
	assert_true(prometheus_value(out.data, "mcp_deliver_seconds_sum") == 1073.741924);
	assert_true(prometheus_value(out.data, "mcp_commit_seconds_count") == 100);
	assert_true(prometheus_value(out.data,
			"mcp_request_seconds_bucket{method=\"tools/call\",outcome=\"ok\",le=\"0.000064\"}") == 3);
	assert_true(
	    prometheus_value(out.data, "mcp_request_seconds_sum{method=\"tools/call\",outcome=\"ok\"}") == 0.00012);
	assert_true(
	    prometheus_value(out.data, "mcp_request_seconds_count{method=\"tools/call\",outcome=\"error\"}") == 1);
	assert_true(prometheus_value(out.data, "mcp_job_seconds_count{outcome=\"cancelled\"}") == 1);
	assert_true(prometheus_value(out.data, "mcp_api_seconds_count{from=\"stale\",outcome=\"ok\"}") == 1);
	buf_release(&out);
	tear_down(&cfg, &b);
}

static void the_parser_of_this_test_is_strict(void **state)
{
	static const char *const bad[] = {
	    "a 1\n",
	    "# HELP a x\na 1\n",
	    "# TYPE a gauge\n# HELP a x\na 1\n",
	    "# HELP a x\n# TYPE a gauge\na 1",
	    "# HELP a x\n# TYPE a gauge\na 1 \n",
	    "# HELP a x\n# TYPE a gauge\na 1\na 1\n",
	    "# HELP a x\n# TYPE a gauge\nb 1\n",
	    "# HELP a x\n# TYPE a gauge\na{b=\"\\x\"} 1\n",
	    "# HELP a x\n# TYPE a gauge\na{b=c} 1\n",
	    "# HELP a x\n# TYPE a gauge\na 1\n# HELP a x\n# TYPE a gauge\na{b=\"c\"} 1\n",
	    "# HELP a x\n# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n",
	    "# HELP a x\n# TYPE a histogram\na_bucket{le=\"1\"} 1\na_bucket{le=\"+Inf\"} 2\na_sum 1\na_count 3\n",
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++) {
		if (!prometheus_check(bad[i]))
			fail_msg("taken: %s", bad[i]);
	}
}

static void status_is_json(void **state)
{
	struct broker b;
	struct cfg cfg;
	struct buf out;
	json_object *json, *commit, *work;
	struct err err = {0};

	(void)state;
	set_up(&cfg, &b);
	buf_init(&out, 1 << 20);
	stats_put_json(&b, &out);
	json = jx_parse(buf_slice(&out), 16, &err);
	if (!json)
		fail_msg("%s: %s", err.msg, out.data);
	assert_int_equal(json_object_get_int64(jx_get(json, "events_appended_total")), 1000 + STAT_APPENDED);
	assert_int_equal(json_object_get_int64(jx_get(jx_get(json, "closes_total"), "newer")), 1000 + STAT_CLOSE_NEWER);
	assert_int_equal(
	    json_object_get_int64(jx_get(jx_get(json, "nacks_total"), "no-runner")), 1000 + STAT_NACK_NO_RUNNER);
	commit = jx_get(json, "commit_seconds");
	assert_int_equal(json_object_get_int64(jx_get(commit, "count")), 100);
	assert_true(json_object_get_double(jx_get(commit, "p50_s")) == 0.000032);
	assert_true(json_object_get_double(jx_get(commit, "p99_s")) == 0.000032);
	assert_true(json_object_get_double(jx_get(jx_get(json, "deliver_seconds"), "p99_s")) == 134.217728);
	work = json_object_array_get_idx(jx_get(json, "request_seconds"), 1);
	assert_true(slice_is(jx_get_str(work, "name"), "tools/call"));
	assert_true(slice_is(jx_get_str(work, "outcome"), "error"));
	assert_int_equal(json_object_get_int64(jx_get(work, "count")), 1);
	assert_int_equal(json_object_array_length(jx_get(json, "job_seconds")), 1);
	json_object_put(json);
	buf_release(&out);
	tear_down(&cfg, &b);
}

static void work_of_too_many_names_is_dropped(void **state)
{
	struct histogram took = {.sum_us = 1};
	struct stats stats = {0};
	char name[LINK_STATS_NAME_MAX + 1];

	(void)state;
	for (int i = 0; i < 2 * STATS_WORK_MAX; i++) {
		snprintf(name, sizeof(name), "%d", i);
		stats_add_work(&stats, slice_str(name), LINK_OUTCOME_OK, &took);
		stats_add_work(&stats, SLICE("0"), LINK_OUTCOME_OK, &took);
	}
	assert_int_equal(stats.work_count, STATS_WORK_MAX);
	assert_int_equal(stats.work[0].took.sum_us, 2 * STATS_WORK_MAX + 1);
	stats_release(&stats);
}

#define END " HTTP/1.1\r\n\r\n"

static void requests_are_read_strictly(void **state)
{
	static const struct {
		struct slice text;
		int status;
		enum admin_page page;
		const char *prefix;
	} cases[] = {
	    {TEXT("GET /metrics" END), 200, ADMIN_METRICS, ""},
	    {TEXT("GET /status HTTP/1.0\r\n\r\n"), 200, ADMIN_STATUS, ""},
	    {TEXT("GET /sessions HTTP/1.1\r\nHost: x\r\nAccept:*/*\r\nContent-Length: 0\r\n\r\n"), 200, ADMIN_SESSIONS,
		""},
	    {TEXT("GET /streams" END), 200, ADMIN_STREAMS, ""},
	    {TEXT("DELETE /sessions/ab-_" END), 200, ADMIN_KILL, "ab-_"},
	    {TEXT(""), 0, 0, NULL},
	    {TEXT("GET /metrics HTTP/1.1\r\n"), 0, 0, NULL},
	    {TEXT("GET /metrics HTTP/1.1\r\n\r"), 0, 0, NULL},
	    {TEXT("GET /metrics HTTP/1.1\r\nHost: x\r\n"), 0, 0, NULL},
	    {TEXT("\r\n"), 400, 0, NULL},
	    {TEXT("GET /metrics HTTP/1.1\n\n"), 400, 0, NULL},
	    {TEXT("GET /metrics\0 HTTP/1.1\r\n\r\n"), 400, 0, NULL},
	    {TEXT("GET  /metrics" END), 400, 0, NULL},
	    {TEXT("GET metrics" END), 400, 0, NULL},
	    {TEXT("GET http://x/metrics" END), 400, 0, NULL},
	    {TEXT("GET /metrics\r\n\r\n"), 400, 0, NULL},
	    {TEXT("GET /metrics HTTP/1.1 \r\n\r\n"), 400, 0, NULL},
	    {TEXT("GET /metrics HTTP/2.0\r\n\r\n"), 505, 0, NULL},
	    {TEXT("G(T /metrics" END), 400, 0, NULL},
	    {TEXT("GET /metrics HTTP/1.1\r\n folded\r\n\r\n"), 400, 0, NULL},
	    {TEXT("GET /metrics HTTP/1.1\r\nno colon\r\n\r\n"), 400, 0, NULL},
	    {TEXT("GET /metrics HTTP/1.1\r\nA : b\r\n\r\n"), 400, 0, NULL},
	    {TEXT("GET /metrics HTTP/1.1\r\ncontent-length: 1\r\n\r\n"), 413, 0, NULL},
	    {TEXT("GET /metrics HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"), 413, 0, NULL},
	    {TEXT("GET /metrics HTTP/1.1\r\n\r\nGET /"), 400, 0, NULL},
	    {TEXT("GET /" END), 404, 0, NULL},
	    {TEXT("GET /metrics?a=b" END), 404, 0, NULL},
	    {TEXT("GET /metrics/" END), 404, 0, NULL},
	    {TEXT("POST /metrics" END), 405, 0, NULL},
	    {TEXT("get /metrics" END), 405, 0, NULL},
	    {TEXT("DELETE /sessions" END), 405, 0, NULL},
	    {TEXT("GET /sessions/abcd" END), 405, 0, NULL},
	    {TEXT("DELETE /sessions/abc" END), 400, 0, NULL},
	    {TEXT("DELETE /sessions/ab%41" END), 200, ADMIN_KILL, "ab%41"}, /* as it stands: nothing is decoded */
	    {TEXT("DELETE /sessions/ab/cd" END), 400, 0, NULL},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct admin_request r;
		int status = admin_request_read(cases[i].text, &r);

		if (status != cases[i].status)
			fail_msg("%s: %d", cases[i].text.p, status);
		if (status == 200 && (r.page != cases[i].page || !slice_is(r.prefix, cases[i].prefix)))
			fail_msg("%s: another page, or %.*s", cases[i].text.p, (int)r.prefix.len, r.prefix.p);
	}
}

static void an_endless_head_is_refused(void **state)
{
	char head[ADMIN_HEAD_MAX];
	struct admin_request r;

	(void)state;
	memset(head, 'a', sizeof(head));
	memcpy(head, "GET /status HTTP/1.1\r\n", 22);
	assert_int_equal(admin_request_read((struct slice){head, sizeof(head) - 1}, &r), 0);
	assert_int_equal(admin_request_read((struct slice){head, sizeof(head)}, &r), 431);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(values_fall_into_their_buckets),
	    cmocka_unit_test(the_rows_are_fit_to_be_shown),
	    cmocka_unit_test(metrics_are_prometheus_text),
	    cmocka_unit_test(the_parser_of_this_test_is_strict),
	    cmocka_unit_test(status_is_json),
	    cmocka_unit_test(work_of_too_many_names_is_dropped),
	    cmocka_unit_test(requests_are_read_strictly),
	    cmocka_unit_test(an_endless_head_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
