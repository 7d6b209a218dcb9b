/* fcgi/ask.c: what may be asked of whom, in which form, and what is an answer */
#include "config.h"

#include <stdio.h>

#include "common/jx.h"
#include "fcgi/ask.h"
#include "fcgi/ask_round.h"
#include "tests/lib/fake_call.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

#define ELICIT              "elicitation/create"
#define SAMPLE              "sampling/createMessage"
#define FORM(field)         "{\"message\":\"m\",\"requestedSchema\":{\"type\":\"object\",\"properties\":{\"f\":" field "}}}"
#define URL(more)           "{\"mode\":\"url\",\"message\":\"m\",\"url\":\"https://x.example/\"" more "}"
#define TEXT_BLOCK          "{\"type\":\"text\",\"text\":\"t\"}"
#define AUDIO_BLOCK         "{\"type\":\"audio\",\"data\":\"\",\"mimeType\":\"audio/wav\"}"
#define USE(id)             "{\"type\":\"tool_use\",\"id\":\"" id "\",\"name\":\"n\",\"input\":{}}"
#define DONE(id)            "{\"type\":\"tool_result\",\"toolUseId\":\"" id "\",\"content\":[]}"
#define USER(c)             "{\"role\":\"user\",\"content\":" c "}"
#define MODEL(c)            "{\"role\":\"assistant\",\"content\":" c "}"
#define SAY(more, messages) "{\"messages\":[" messages "],\"maxTokens\":9" more "}"

static struct cfg cfg;

static json_object *parse(const char *text)
{
	struct err err = {0};
	json_object *val = text ? jx_parse(slice_str(text), 32, &err) : NULL;

	if (text && !val)
		fail_msg("%s: %s", text, err.msg);
	return val;
}

static void call_of(struct fake_call *f, enum revision revision, const char *can)
{
	fake_call_init(f, &cfg, revision == REV_2026_07 ? ERA_MODERN : ERA_LEGACY);
	f->call.revision = revision;
	f->call.capabilities = parse(can);
	f->priv.may_ask = true;
}

static void call_over(struct fake_call *f)
{
	json_object_put(f->call.capabilities);
	fake_call_release(f);
}

static void test_abilities(void **state)
{
	static const struct {
		enum revision revision;
		const char *can, *words;
	} rows[] = {
	    {REV_2026_07, "{}", ""},
	    {REV_2026_07, "{\"elicitation\":{}}", "elicitation"},
	    {REV_2026_07, "{\"elicitation\":{\"form\":{}}}", "elicitation"},
	    {REV_2026_07, "{\"elicitation\":{\"url\":{}}}", "elicitation.url"},
	    {REV_2026_07, "{\"elicitation\":{\"url\":{},\"form\":{}}}", "elicitation elicitation.url"},
	    {REV_2026_07, "{\"elicitation\":true,\"sampling\":[],\"roots\":null}", ""},
	    {REV_2025_11, "{\"elicitation\":{\"url\":true}}", ""},
	    {REV_2025_11, "{\"sampling\":{\"tools\":{}},\"roots\":{\"listChanged\":true}}",
		"sampling sampling.tools roots"},
	    {REV_2025_11, "{\"sampling\":{\"context\":{}}}", "sampling sampling.context"},
	    {REV_2025_06, "{\"elicitation\":{\"url\":{}}}", "elicitation"},
	    {REV_2025_06, "{\"sampling\":{\"tools\":{}}}", "sampling sampling.context"},
	    {REV_2025_03, "{\"elicitation\":{},\"roots\":{}}", "roots"},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct fake_call f;
		struct buf words;

		call_of(&f, rows[i].revision, rows[i].can);
		buf_init(&words, 256);
		buf_adds(&words, "");
		ask_put_abilities(&f.call, &words);
		if (strcmp(words.data, rows[i].words) != 0)
			fail_msg("%s: %s", rows[i].can, words.data);
		buf_clear(&words);
		f.priv.may_ask = false;
		ask_put_abilities(&f.call, &words);
		assert_int_equal(words.len, 0);
		buf_release(&words);
		call_over(&f);
	}
}

#define ALL "{\"elicitation\":{\"form\":{},\"url\":{}},\"sampling\":{\"tools\":{},\"context\":{}},\"roots\":{}}"

static const struct {
	const char *name;
	enum revision revision;
	const char *can, *method, *params;
	enum err_code code;
	const char
	    *want; /* params that go out, or what the client would have to declare; NULL: as they were, or nothing */
} rows[] = {
    {"a form", REV_2026_07, ALL, ELICIT, FORM("{\"type\":\"string\",\"format\":\"email\"}"), ERR_NONE, NULL},
    {"numbers", REV_2025_11, ALL, ELICIT, FORM("{\"type\":\"integer\",\"minimum\":1,\"default\":3}"), ERR_NONE, NULL},
    {"one of several, titled", REV_2025_11, ALL, ELICIT,
	FORM("{\"type\":\"string\",\"oneOf\":[{\"const\":\"a\",\"title\":\"A\"}]}"), ERR_NONE, NULL},
    {"the same for 2025-06-18", REV_2025_06, ALL, ELICIT,
	FORM("{\"type\":\"string\",\"oneOf\":[{\"const\":\"a\",\"title\":\"A\"},{\"const\":\"b\",\"title\":\"B\"}]}"),
	ERR_NONE, FORM("{\"type\":\"string\",\"enum\":[\"a\",\"b\"],\"enumNames\":[\"A\",\"B\"]}")},
    {"several of several", REV_2026_07, ALL, ELICIT,
	FORM("{\"type\":\"array\",\"items\":{\"type\":\"string\",\"enum\":[\"a\"]},\"minItems\":1}"), ERR_NONE, NULL},
    {"several of several, titled", REV_2026_07, ALL, ELICIT,
	FORM("{\"type\":\"array\",\"items\":{\"anyOf\":[{\"const\":\"a\",\"title\":\"A\"}]},\"default\":[\"a\"]}"),
	ERR_NONE, NULL},
    {"the same for 2025-06-18", REV_2025_06, ALL, ELICIT,
	FORM("{\"type\":\"array\",\"items\":{\"type\":\"string\",\"enum\":[\"a\"]}}"), ERR_CAPABILITY, NULL},
    {"no mode for 2025-06-18", REV_2025_06, ALL, ELICIT,
	"{\"mode\":\"form\",\"message\":\"m\",\"requestedSchema\":{\"type\":\"object\",\"properties\":{}}}", ERR_NONE,
	"{\"message\":\"m\",\"requestedSchema\":{\"type\":\"object\",\"properties\":{}}}"},
    {"no elicitation for 2025-03-26", REV_2025_03, ALL, ELICIT, FORM("{\"type\":\"boolean\"}"), ERR_CAPABILITY,
	"{\"elicitation\":{}}"},
    {"an object in a form", REV_2026_07, ALL, ELICIT, FORM("{\"type\":\"object\",\"properties\":{}}"), ERR_PARAMS,
	NULL},
    {"a form in a form", REV_2026_07, ALL, ELICIT, FORM("{\"type\":\"array\",\"items\":{\"type\":\"object\"}}"),
	ERR_PARAMS, NULL},
    {"a field without a type", REV_2026_07, ALL, ELICIT, FORM("{\"enum\":[\"a\"]}"), ERR_PARAMS, NULL},
    {"a format that there is not", REV_2026_07, ALL, ELICIT, FORM("{\"type\":\"string\",\"format\":\"ipv4\"}"),
	ERR_PARAMS, NULL},
    {"a default of another type", REV_2026_07, ALL, ELICIT, FORM("{\"type\":\"number\",\"default\":\"1\"}"), ERR_PARAMS,
	NULL},
    {"no message", REV_2026_07, ALL, ELICIT, "{\"requestedSchema\":{\"type\":\"object\",\"properties\":{}}}",
	ERR_PARAMS, NULL},
    {"no params", REV_2026_07, ALL, ELICIT, NULL, ERR_PARAMS, NULL},
    {"a mode that there is not", REV_2026_07, ALL, ELICIT,
	"{\"mode\":\"voice\",\"message\":\"m\",\"requestedSchema\":{\"type\":\"object\",\"properties\":{}}}",
	ERR_PARAMS, NULL},
    {"a page", REV_2026_07, ALL, ELICIT, URL(",\"elicitationId\":\"e\""), ERR_NONE, URL("")},
    {"a page with an id of its own", REV_2025_11, ALL, ELICIT, URL(",\"elicitationId\":\"e\""), ERR_NONE, NULL},
    {"a page for who fills in forms", REV_2025_11, "{\"elicitation\":{}}", ELICIT, URL(""), ERR_CAPABILITY,
	"{\"elicitation\":{\"url\":{}}}"},
    {"a form for who opens pages", REV_2025_11, "{\"elicitation\":{\"url\":{}}}", ELICIT,
	FORM("{\"type\":\"boolean\"}"), ERR_CAPABILITY, "{\"elicitation\":{}}"},
    {"a page that is no URL", REV_2026_07, ALL, ELICIT, "{\"mode\":\"url\",\"message\":\"m\",\"url\":\"/sign-in\"}",
	ERR_PARAMS, NULL},
    {"sampling", REV_2024_11, ALL, SAMPLE, SAY("", USER(TEXT_BLOCK) "," MODEL(TEXT_BLOCK)), ERR_NONE, NULL},
    {"sampling for who can't", REV_2026_07, "{\"roots\":{}}", SAMPLE, SAY("", USER(TEXT_BLOCK)), ERR_CAPABILITY,
	"{\"sampling\":{}}"},
    {"tools for who uses none", REV_2026_07, "{\"sampling\":{}}", SAMPLE,
	SAY(",\"tools\":[{\"name\":\"n\",\"inputSchema\":{}}]", USER(TEXT_BLOCK)), ERR_CAPABILITY,
	"{\"sampling\":{\"tools\":{}}}"},
    {"tools", REV_2025_11, ALL, SAMPLE,
	SAY(",\"tools\":[{\"name\":\"n\",\"inputSchema\":{}}],\"toolChoice\":{\"mode\":\"auto\"}", USER(TEXT_BLOCK)),
	ERR_NONE, NULL},
    {"tools in a revision without", REV_2025_06, ALL, SAMPLE, SAY(",\"toolChoice\":{}", USER(TEXT_BLOCK)),
	ERR_CAPABILITY, "{\"sampling\":{\"tools\":{}}}"},
    {"context for who gives none", REV_2025_11, "{\"sampling\":{}}", SAMPLE,
	SAY(",\"includeContext\":\"thisServer\"", USER(TEXT_BLOCK)), ERR_CAPABILITY, "{\"sampling\":{\"context\":{}}}"},
    {"no context", REV_2025_11, "{\"sampling\":{}}", SAMPLE, SAY(",\"includeContext\":\"none\"", USER(TEXT_BLOCK)),
	ERR_NONE, NULL},
    {"context before it was declared", REV_2025_06, "{\"sampling\":{}}", SAMPLE,
	SAY(",\"includeContext\":\"allServers\"", USER(TEXT_BLOCK)), ERR_NONE, NULL},
    {"blocks", REV_2025_11, ALL, SAMPLE, SAY("", USER("[" TEXT_BLOCK "," AUDIO_BLOCK "]")), ERR_NONE, NULL},
    {"blocks for 2025-06-18", REV_2025_06, ALL, SAMPLE, SAY("", USER("[" TEXT_BLOCK "," TEXT_BLOCK "]")),
	ERR_CAPABILITY, NULL},
    {"a block alone for 2025-06-18", REV_2025_06, ALL, SAMPLE, SAY("", USER("[" TEXT_BLOCK "]")), ERR_NONE,
	SAY("", USER(TEXT_BLOCK))},
    {"audio for 2024-11-05", REV_2024_11, ALL, SAMPLE, SAY("", USER(AUDIO_BLOCK)), ERR_CAPABILITY, NULL},
    {"a tool was used", REV_2025_11, ALL, SAMPLE,
	SAY("", USER(TEXT_BLOCK) "," MODEL("[" TEXT_BLOCK "," USE("1") "," USE("2") "]") "," USER(
		    "[" DONE("2") "," DONE("1") "]")),
	ERR_NONE, NULL},
    {"a result among other things", REV_2025_11, ALL, SAMPLE,
	SAY("", MODEL(USE("1")) "," USER("[" DONE("1") "," TEXT_BLOCK "]")), ERR_PARAMS, NULL},
    {"a use without a result", REV_2025_11, ALL, SAMPLE, SAY("", MODEL(USE("1"))), ERR_PARAMS, NULL},
    {"a result of something else", REV_2025_11, ALL, SAMPLE, SAY("", MODEL(USE("1")) "," USER(DONE("2"))), ERR_PARAMS,
	NULL},
    {"a result of nothing", REV_2025_11, ALL, SAMPLE, SAY("", USER(DONE("1"))), ERR_PARAMS, NULL},
    {"one use, two results", REV_2025_11, ALL, SAMPLE,
	SAY("", MODEL(USE("1")) "," USER("[" DONE("1") "," DONE("1") "]")), ERR_PARAMS, NULL},
    {"no message", REV_2025_11, ALL, SAMPLE, SAY("", ""), ERR_PARAMS, NULL},
    {"no maxTokens", REV_2025_11, ALL, SAMPLE, "{\"messages\":[" USER(TEXT_BLOCK) "]}", ERR_PARAMS, NULL},
    {"content a string", REV_2025_11, ALL, SAMPLE, SAY("", USER("\"t\"")), ERR_PARAMS, NULL},
    {"roots", REV_2024_11, ALL, "roots/list", NULL, ERR_NONE, "{}"},
    {"roots for who has none", REV_2026_07, "{\"sampling\":{}}", "roots/list", "{}", ERR_CAPABILITY, "{\"roots\":{}}"},
    {"something else", REV_2026_07, ALL, "ping", NULL, ERR_PARAMS, NULL},
};

static void test_prepare(void **state)
{
	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		json_object *params = parse(rows[i].params), *out, *required, *got;
		struct fake_call f;
		struct err err = {0};
		struct buf text;
		int ret;

		call_of(&f, rows[i].revision, rows[i].can);
		buf_init(&text, 65536);
		ret = ask_prepare(&f.call, rows[i].method, params, &out, &required, &err);
		if (err.code != rows[i].code || (ret == 0) != (err.code == ERR_NONE) || (ret == 0) != (out != NULL))
			fail_msg("%s: %s %s", rows[i].name, err_name(err.code), err.msg);
		got = out ? out : required;
		if (got)
			jx_write(&text, got);
		if (got ? strcmp(text.data, rows[i].want ? rows[i].want : rows[i].params) != 0 : rows[i].want != NULL)
			fail_msg("%s: %s", rows[i].name, text.data);
		buf_release(&text);
		json_object_put(out);
		json_object_put(required);
		json_object_put(params);
		call_over(&f);
	}
}

/* SA-12: an id of ours, unlike any other */
static void test_elicitation_id(void **state)
{
	json_object *params = parse(URL("")), *out[2], *required;
	struct fake_call f;
	struct err err = {0};

	(void)state;
	call_of(&f, REV_2025_11, ALL);
	for (int i = 0; i < 2; i++)
		assert_int_equal(ask_prepare(&f.call, ELICIT, params, &out[i], &required, &err), 0);
	assert_int_equal(jx_get_str(out[0], "elicitationId").len, 32);
	assert_false(slice_eq(jx_get_str(out[0], "elicitationId"), jx_get_str(out[1], "elicitationId")));
	json_object_put(out[0]);
	json_object_put(out[1]);
	json_object_put(params);
	call_over(&f);
}

static void test_answers(void **state)
{
	static const char form[] =
	    "{\"message\":\"m\",\"requestedSchema\":{\"type\":\"object\",\"properties\":{\"n\":{\"type\":\"integer\"}},"
	    "\"required\":[\"n\"]}}";
	static const struct {
		const char *method, *params, *answer;
		int is_one;
	} answers[] = {
	    {ELICIT, form, "{\"action\":\"accept\",\"content\":{\"n\":1}}", 1},
	    {ELICIT, form, "{\"action\":\"accept\",\"content\":{\"n\":\"1\"}}", 0},
	    {ELICIT, form, "{\"action\":\"accept\",\"content\":{}}", 0},
	    {ELICIT, form, "{\"action\":\"accept\"}", 0},
	    {ELICIT, form, "{\"action\":\"decline\"}", 1},
	    {ELICIT, form, "{\"action\":\"cancel\",\"content\":{\"n\":\"ignored\"}}", 1},
	    {ELICIT, form, "{\"action\":\"maybe\"}", 0},
	    {ELICIT, form, "{\"action\":\"accept\",\"content\":[]}", 0},
	    {ELICIT, form, "{}", 0},
	    {ELICIT, form, "7", 0},
	    {ELICIT, form, "{\"error\":{\"code\":1,\"message\":\"x\"}}", 0},
	    {ELICIT, URL(""), "{\"action\":\"accept\"}", 1},
	    {SAMPLE, "{}", "{\"role\":\"assistant\",\"model\":\"m\",\"content\":" TEXT_BLOCK "}", 1},
	    {SAMPLE, "{}", "{\"role\":\"assistant\",\"model\":\"m\",\"content\":[]}", 1},
	    {SAMPLE, "{}", "{\"role\":\"assistant\",\"content\":" TEXT_BLOCK "}", 0},
	    {SAMPLE, "{}", "{\"role\":\"system\",\"model\":\"m\",\"content\":" TEXT_BLOCK "}", 0},
	    {SAMPLE, "{}", "{\"role\":\"assistant\",\"model\":\"m\",\"content\":\"t\"}", 0},
	    {"roots/list", NULL, "{\"roots\":[{\"uri\":\"file:///\",\"name\":\"x\"}]}", 1},
	    {"roots/list", NULL, "{\"roots\":[{\"name\":\"x\"}]}", 0},
	    {"roots/list", NULL, "{}", 0},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(answers); i++) {
		json_object *params = parse(answers[i].params), *answer = parse(answers[i].answer);
		struct err err = {0};

		if (ask_is_answer(slice_str(answers[i].method), jx_get(params, "requestedSchema"), answer, &err) != answers[i].is_one)
			fail_msg("%s %s: %s", answers[i].method, answers[i].answer, err.msg);
		json_object_put(params);
		json_object_put(answer);
	}
}

static void ask(struct fake_call *f, const char *key, int want)
{
	struct err err = {0};

	assert_int_equal(call_ask(&f->call, key, "roots/list", NULL, &err), want);
}

static void answer(struct ask_round *round, const char *key, const char *text)
{
	json_object *val = parse(text);
	struct err err = {0};

	assert_int_equal(ask_round_answer(round, key, val, &err), 0);
	json_object_put(val);
}

static void test_rounds(void **state)
{
	struct ask_round round = {0};
	struct fake_call f;
	struct err err = {0};
	struct buf text;
	json_object *val;

	(void)state;
	cfg.ask_rounds_max = 2;
	buf_init(&text, 65536);
	call_of(&f, REV_2026_07, ALL);
	ask(&f, "a", 0);
	ask(&f, "b", 0);
	ask(&f, "bad key", -1);
	ask(&f, "", -1);
	assert_int_equal(call_keep(&f.call, json_object_new_int(5), &err), 0);
	assert_int_equal(ask_round_put(&f.call, &text, &err), 0);
	call_over(&f);

	val = parse(text.data);
	assert_int_equal(ask_round_read(val, &round, &err), 0);
	json_object_put(val);
	answer(&round, "a", "{\"roots\":[]}");
	answer(&round, "b", "{\"stems\":[]}");
	answer(&round, "c", "{\"roots\":[]}");
	call_of(&f, REV_2026_07, ALL);
	ask_round_lend(&round, &f.call);
	assert_int_equal(json_object_get_int(f.call.kept), 5);
	ask(&f, "a", 1);
	ask(&f, "b", 0);
	ask(&f, "c", 0); /* what was not asked was not answered */
	buf_clear(&text);
	assert_int_equal(ask_round_put(&f.call, &text, &err), 0);
	ask_round_release(&round);
	call_over(&f);

	val = parse(text.data);
	assert_int_equal(ask_round_read(val, &round, &err), 0);
	json_object_put(val);
	val = parse("{\"code\":-1,\"message\":\"no\"}");
	assert_int_equal(ask_round_fail(&round, "b", val, &err), 0);
	assert_int_equal(ask_round_fail(&round, "d", val, &err), 0);
	json_object_put(val);
	call_of(&f, REV_2026_07, ALL);
	ask_round_lend(&round, &f.call);
	assert_null(f.call.kept);
	ask(&f, "a", 1);
	ask(&f, "b", 1);
	ask(&f, "d", 0);
	buf_clear(&text);
	assert_int_equal(ask_round_put(&f.call, &text, &err), -1); /* that was all */
	assert_int_equal(err.code, ERR_LIMIT);
	ask_round_release(&round);
	call_over(&f);
	buf_release(&text);
}

/* P-03: it goes on growing where it is the same request. */
static void test_progress(void **state)
{
	static const enum revision revisions[] = {REV_2025_11, REV_2026_07};
	struct err err = {0};

	(void)state;
	cfg.ask_rounds_max = 2;
	for (size_t i = 0; i < COUNT_OF(revisions); i++) {
		struct ask_round round;
		struct fake_call f;
		struct buf text;
		json_object *val;

		buf_init(&text, 65536);
		call_of(&f, revisions[i], ALL);
		cfg.body_max_bytes = 65536;
		assert_int_equal(call_notify(&f.call, "notifications/progress", parse("{\"progress\":2.5}"), &err), 0);
		ask(&f, "a", 0);
		assert_int_equal(ask_round_put(&f.call, &text, &err), 0);
		call_over(&f);
		val = parse(text.data);
		assert_int_equal(ask_round_read(val, &round, &err), 0);
		json_object_put(val);
		call_of(&f, revisions[i], ALL);
		ask_round_lend(&round, &f.call);
		assert_int_equal(call_notify(&f.call, "notifications/progress", parse("{\"progress\":2.5}"), &err), 0);
		assert_int_equal(f.notified.len > 0, revisions[i] == REV_2026_07);
		assert_int_equal(call_notify(&f.call, "notifications/progress", parse("{\"progress\":3}"), &err), 0);
		assert_non_null(strstr(f.notified.data, "\"progress\":3"));
		ask_round_release(&round);
		call_over(&f);
		buf_release(&text);
	}
}

static void test_too_many(void **state)
{
	struct fake_call f;
	char key[16];

	(void)state;
	call_of(&f, REV_2026_07, ALL);
	for (int i = 0; i <= ASK_MAX; i++) {
		snprintf(key, sizeof(key), "k%d", i);
		ask(&f, key, i < ASK_MAX ? 0 : -1);
	}
	call_drop_asks(&f.call);
	assert_false(call_is_asking(&f.call));
	call_over(&f);
}

static void test_not_a_round(void **state)
{
	static const char *const texts[] = {"{}", "{\"number\":1}", "{\"number\":0,\"pending\":{}}",
	    "{\"number\":\"1\",\"pending\":{}}", "{\"number\":1,\"pending\":[]}"};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(texts); i++) {
		json_object *val = parse(texts[i]);
		struct ask_round round;
		struct err err = {0};

		assert_int_equal(ask_round_read(val, &round, &err), -1);
		ask_round_release(&round);
		json_object_put(val);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_abilities),
	    cmocka_unit_test(test_prepare),
	    cmocka_unit_test(test_elicitation_id),
	    cmocka_unit_test(test_answers),
	    cmocka_unit_test(test_rounds),
	    cmocka_unit_test(test_progress),
	    cmocka_unit_test(test_too_many),
	    cmocka_unit_test(test_not_a_round),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
