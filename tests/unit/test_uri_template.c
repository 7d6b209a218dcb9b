/* fcgi/uri_template.c: what RFC 6570's examples become, which URIs are of a template and with what values, what is
 * refused, and that no URI takes long. */
#include "config.h"

#include "common/jx.h"
#include "fcgi/uri_template.h"
#include "tests/lib/mem_fault.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

static struct uri_template *template_of(const char *text)
{
	struct err err = {0};
	struct uri_template *tpl = uri_template_new(slice_str(text), &err);

	if (!tpl)
		fail_msg("%s: %s", text, err.msg);
	return tpl;
}

static json_object *object_of(const char *text)
{
	struct err err = {0};
	json_object *obj = jx_parse(slice_str(text), 4, &err);

	if (!obj)
		fail_msg("%s: %s", text, err.msg);
	return obj;
}

/* The variables of RFC 6570, section 3.2, as far as they are texts. */
#define RFC_VALUES                                                                                                     \
	"{\"count\":\"1\",\"dom\":\"example\",\"dub\":\"me/too\",\"hello\":\"Hello World!\",\"half\":\"50%\","         \
	"\"var\":\"value\",\"who\":\"fred\",\"base\":\"http://example.com/home/\",\"path\":\"/foo/bar\","              \
	"\"v\":\"6\",\"x\":\"1024\",\"y\":\"768\",\"empty\":\"\",\"nul\":\"a\\u0000b\",\"number\":1}"

static void test_expand(void **state)
{
	static const struct {
		const char *text, *want; /* NULL: ERR_PARAMS */
	} cases[] = {
	    {"{var}", "value"},
	    {"{hello}", "Hello%20World%21"},
	    {"{half}", "50%25"},
	    {"O{var}X", "OvalueX"},
	    {"?{x,y}", "?1024,768"},
	    {"{x,hello,y}", "1024,Hello%20World%21,768"},
	    {"{+hello}", "Hello%20World!"},
	    {"{+half}", "50%25"},
	    {"{base}index", "http%3A%2F%2Fexample.com%2Fhome%2Findex"},
	    {"{+base}index", "http://example.com/home/index"},
	    {"{+path}/here", "/foo/bar/here"},
	    {"here?ref={+path}", "here?ref=/foo/bar"},
	    {"{+x,hello,y}", "1024,Hello%20World!,768"},
	    {"{+path,x}/here", "/foo/bar,1024/here"},
	    {"{#var}", "#value"},
	    {"{#hello}", "#Hello%20World!"},
	    {"{#half}", "#50%25"},
	    {"{#x,hello,y}", "#1024,Hello%20World!,768"},
	    {"{#path,x}/here", "#/foo/bar,1024/here"},
	    {"{.who}", ".fred"},
	    {"{.half,who}", ".50%25.fred"},
	    {"www{.dom}", "www.example"},
	    {"X{.var}", "X.value"},
	    {"{/who}", "/fred"},
	    {"{/half,who}", "/50%25/fred"},
	    {"{/who,dub}", "/fred/me%2Ftoo"},
	    {"{/var,x}/here", "/value/1024/here"},
	    {"{;who}", ";who=fred"},
	    {"{;half}", ";half=50%25"},
	    {"{;empty}", ";empty"},
	    {"{;v,empty,who}", ";v=6;empty;who=fred"},
	    {"{;v,bar,who}", ";v=6;who=fred"},
	    {"{;x,y,empty}", ";x=1024;y=768;empty"},
	    {"{?who}", "?who=fred"},
	    {"{?half}", "?half=50%25"},
	    {"{?x,y}", "?x=1024&y=768"},
	    {"{?x,y,empty}", "?x=1024&y=768&empty="},
	    {"{?x,y,undef}", "?x=1024&y=768"},
	    {"{?undef,y}", "?y=768"},
	    {"{?undef}", ""},
	    {"{&who}", "&who=fred"},
	    {"?fixed=yes{&x}", "?fixed=yes&x=1024"},
	    {"{&x,y,empty}", "&x=1024&y=768&empty="},
	    {"", ""},
	    {"{undef}", NULL},
	    {"{x,empty}", NULL},
	    {"{/nul}", NULL},
	    {"{?nul}", NULL},
	    {"{+number}", NULL},
	};
	json_object *vars = object_of(RFC_VALUES);
	struct buf out;

	(void)state;
	buf_init(&out, 4096);
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct uri_template *tpl = template_of(cases[i].text);
		struct err err = {0};

		buf_clear(&out);
		if (uri_template_expand(tpl, vars, &out, &err)) {
			if (cases[i].want || err.code != ERR_PARAMS)
				fail_msg("%s: %s", cases[i].text, err.msg);
		} else if (!cases[i].want || !slice_is(buf_slice(&out), cases[i].want)) {
			fail_msg("%s: got %s", cases[i].text, out.data ? out.data : "");
		}
		uri_template_free(&tpl);
	}
	buf_release(&out);
	json_object_put(vars);
}

static void test_match(void **state)
{
	static const struct {
		const char *text, *uri, *want; /* NULL: ERR_NOT_FOUND */
	} cases[] = {
	    {"test://template/{id}/data", "test://template/123/data", "{\"id\":\"123\"}"},
	    {"test://template/{id}/data", "test://template/a%2Fb%20%C3%A9/data", "{\"id\":\"a/b é\"}"},
	    {"test://template/{id}/data", "test://template/user@host:1/data", "{\"id\":\"user@host:1\"}"},
	    {"test://template/{id}/data", "test://template//data", NULL},
	    {"test://template/{id}/data", "test://template/1/2/data", NULL},
	    {"test://template/{id}/data", "test://template/1/data/", NULL},
	    {"test://template/{id}/data", "test://template/1/dat", NULL},
	    {"test://template/{id}/data", "TEST://template/1/data", NULL},
	    {"test://template/{id}/data", "test://template/%00/data", NULL},
	    {"test://template/{id}/data", "test://template/%/data", NULL},
	    {"test://template/{id}/data", "test://template/%4/data", NULL},
	    {"test://template/{id}/data", "test://template/%4g/data", NULL},
	    {"test://template/{id}/data", "test://template/%c3/data", NULL},
	    {"test://template/{id}/data", "test://template/%ED%A0%80/data", NULL},
	    {"test://template/{id}/data", "test://template/a b/data", NULL},
	    {"test://template/{id}/data", "test://template/\xc3\xa9/data", NULL},
	    {"docs:///{+path}", "docs:///a/b%20c.txt", "{\"path\":\"a/b c.txt\"}"},
	    {"docs:///{+path}", "docs:///..%2f../x", "{\"path\":\"../../x\"}"},
	    {"docs:///{+path}", "docs:///what?[1]#x", "{\"path\":\"what?[1]#x\"}"},
	    {"docs:///{+path}", "docs:///", NULL},
	    {"docs:///{+path}", "docs://x/a", NULL},
	    {"docs:///{+path}{?rev}", "docs:///a/b?rev=2", "{\"path\":\"a/b\",\"rev\":\"2\"}"},
	    {"docs:///{+path}{?rev}", "docs:///a/b", "{\"path\":\"a/b\"}"},
	    {"docs:///{+path}{?rev}", "docs:///a?b", NULL},
	    {"{+dir}/{name}", "a/b/c", "{\"dir\":\"a/b\",\"name\":\"c\"}"},
	    {"{+dir}/data", "a/data/data", "{\"dir\":\"a/data\"}"},
	    {"{+a}-{b}.txt", "x-y/z-q.r.txt", "{\"a\":\"x-y/z\",\"b\":\"q.r\"}"},
	    {"x:{a}.{b}", "x:archive.tar.gz", "{\"a\":\"archive.tar\",\"b\":\"gz\"}"},
	    {"x:{a,b}", "x:1,2", "{\"a\":\"1\",\"b\":\"2\"}"},
	    {"x:{a,b}", "x:1", NULL},
	    {"x:{a,b}", "x:1,2,3", NULL},
	    {"x:{a,b}", "x:1%2C2,3", "{\"a\":\"1,2\",\"b\":\"3\"}"},
	    {"x:{/a,b}", "x:/1/2", "{\"a\":\"1\",\"b\":\"2\"}"},
	    {"x:{/a,b}", "x:/1", NULL},
	    {"x:{a}{.ext}", "x:1.2.3", "{\"a\":\"1.2\",\"ext\":\"3\"}"},
	    {"x:{a}{#f}", "x:1#2/3?4", "{\"a\":\"1\",\"f\":\"2/3?4\"}"},
	    {"x:{?a,b}", "x:?a=1&b=2", "{\"a\":\"1\",\"b\":\"2\"}"},
	    {"x:{?a,b}", "x:?b=2&a=1", "{\"a\":\"1\",\"b\":\"2\"}"},
	    {"x:{?a,b}", "x:?b=a:b@c", "{\"b\":\"a:b@c\"}"},
	    {"x:{?a,b}", "x:?b", "{\"b\":\"\"}"},
	    {"x:{?a,b}", "x:", "{}"},
	    {"x:{?a,b}", "x:?", NULL},
	    {"x:{?a,b}", "x:?a=1&a=2", NULL},
	    {"x:{?a,b}", "x:?a=1&c=2", NULL},
	    {"x:{?a,b}", "x:&a=1", NULL},
	    {"x:?f=1{&a}{#z}", "x:?f=1&a=2#3", "{\"a\":\"2\",\"z\":\"3\"}"},
	    {"x:{;a,b}/{c}", "x:;b=1;a/2", "{\"a\":\"\",\"b\":\"1\",\"c\":\"2\"}"},
	    {"x:{a.b}", "x:1", "{\"a.b\":\"1\"}"},
	    {"x:y", "x:y", "{}"},
	    {"x:y", "x:z", NULL},
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct uri_template *tpl = template_of(cases[i].text);
		json_object *vars = json_object_new_object(), *want = object_of(cases[i].want ? cases[i].want : "{}");
		struct err err = {0};

		if (uri_template_match(tpl, slice_str(cases[i].uri), vars, &err)) {
			if (cases[i].want || err.code != ERR_NOT_FOUND)
				fail_msg("%s of %s: %s", cases[i].uri, cases[i].text, err.msg);
		} else if (!cases[i].want || !json_object_equal(vars, want)) {
			fail_msg("%s of %s: got %s", cases[i].uri, cases[i].text, json_object_to_json_string(vars));
		}
		json_object_put(want);
		json_object_put(vars);
		uri_template_free(&tpl);
	}
}

static void test_refused(void **state)
{
	static const char *const cases[] = {"{", "{x", "x}", "{}", "{+}", "{x,}", "{,x}", "{x:3}", "{x*}", "{=x}",
	    "{,x}", "{!x}", "{@x}", "{|x}", "{x y}", "{\xc3\xa9}", "{.}", "{..x}", "{x.}", "{x}{y}", "{+x}{y}",
	    "{x}-{x}", "{?x,x}", "a b", "a\"b", "<x>", "%", "%4", "%zz", "%00", "%C3", "\xc3\xa9", "{x}%C3", "{?x}{y}",
	    "{?x}y", "{?x}&y", "{?x}?x=1", "{?x}{&y}?x=1", "{;x}y", "{;x};y", "{+x}{;y}", "{#x}{&y}", "\\", "^", "`"};
	struct buf text;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(cases); i++) {
		struct err err = {0};

		if (uri_template_new(slice_str(cases[i]), &err) || err.code != ERR_PARAMS || !*err.msg)
			fail_msg("%s is taken", cases[i]);
	}
	buf_init(&text, 1 << 16);
	for (int i = 0; i < 64; i++)
		buf_addf(&text, "%cv%d", i ? ',' : '?', i);
	buf_adds(&text, "}");
	text.data[0] = '{';
	assert_null(uri_template_new(buf_slice(&text), NULL));
	while (text.len < 3000)
		buf_adds(&text, "x");
	assert_null(uri_template_new((struct slice){text.data + 900, 2100}, NULL));
	assert_null(uri_template_new((struct slice){"a\0b", 3}, NULL));
	buf_release(&text);
}

static void test_names(void **state)
{
	struct uri_template *tpl = template_of("x:{b,a}{/c}{?e,d}");
	static const char want[] = "bace";

	(void)state;
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(uri_template_variable(tpl, i)[0], want[i]);
	assert_string_equal(uri_template_variable(tpl, 4), "d");
	assert_null(uri_template_variable(tpl, 5));
	uri_template_free(&tpl);
	uri_template_free(&tpl);
}

/* Texts that can stand anywhere, and a URI that almost matches: what backtracking would never end. */
static void test_bounded(void **state)
{
	struct buf text, uri;
	struct uri_template *tpl;
	json_object *vars = json_object_new_object();
	uint64_t start = now_ms();
	struct err err = {0};

	(void)state;
	buf_init(&text, 4096);
	buf_init(&uri, 2 * URI_TEMPLATE_URI_MAX);
	for (int i = 0; i < 30; i++)
		buf_addf(&text, "a{+v%d}", i);
	buf_adds(&text, "!");
	while (uri.len < URI_TEMPLATE_URI_MAX)
		buf_adds(&uri, "a");
	tpl = template_of(text.data);
	assert_int_equal(uri_template_match(tpl, buf_slice(&uri), vars, &err), -1);
	assert_int_equal(err.code, ERR_NOT_FOUND);
	uri.data[uri.len - 1] = '!';
	assert_int_equal(uri_template_match(tpl, buf_slice(&uri), vars, &err), 0);
	assert_true(now_ms() - start < 5000);
	buf_adds(&uri, "!");
	assert_int_equal(uri_template_match(tpl, buf_slice(&uri), vars, &err), -1);
	assert_int_equal(err.code, ERR_NOT_FOUND);
	uri_template_free(&tpl);

	tpl = template_of("x:{+path}");
	jx_add_str(vars, "path", uri.data, &err);
	buf_clear(&uri);
	assert_int_equal(uri_template_expand(tpl, vars, &uri, &err), -1);
	assert_int_equal(err.code, ERR_TOO_BIG);
	uri_template_free(&tpl);
	json_object_put(vars);
	buf_release(&uri);
	buf_release(&text);
}

static int round_trip(struct err *err)
{
	struct uri_template *tpl = uri_template_new(SLICE("x:{a}/{+b}{?c,d}"), err);
	json_object *vars = json_object_new_object();
	struct buf out;
	int ret = -1;

	buf_init(&out, 1000);
	if (tpl)
		ret = uri_template_match(tpl, SLICE("x:1%20/2/3?d=4"), vars, err);
	if (ret == 0)
		ret = uri_template_expand(tpl, vars, &out, err);
	buf_release(&out);
	json_object_put(vars);
	uri_template_free(&tpl);
	return ret;
}

static void test_no_memory(void **state)
{
	bool failed = true;

	(void)state;
	for (long nth = 0; failed; nth++) {
		struct err err = {0};
		int ret;

		mem_fault_at(nth, 1);
		ret = round_trip(&err);
		failed = mem_fault_end();
		assert_int_equal(ret, failed ? -1 : 0);
		assert_int_equal(err.code, failed ? ERR_NOMEM : ERR_NONE);
		assert_int_equal(mem_fault_live(), 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(test_expand),
	    cmocka_unit_test(test_match),
	    cmocka_unit_test(test_refused),
	    cmocka_unit_test(test_names),
	    cmocka_unit_test(test_bounded),
	    cmocka_unit_test(test_no_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
