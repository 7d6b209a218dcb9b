#include "config.h"

#include "broker/wheel.h"
#include "tests/lib/unit.h"
#include "common/banned.h"

#define TURN_MS ((uint64_t)WHEEL_SLOTS * WHEEL_TICK_MS)

struct probe {
	struct wheel_timer timer;
	struct wheel *wheel;
	struct probe *other;    /* stopped when this one fires */
	uint64_t now, again_ms; /* started anew from within, unless 0 */
	unsigned fired;
};

static void on_fire(struct wheel_timer *t)
{
	struct probe *p = (struct probe *)(void *)t;

	p->fired++;
	if (p->other)
		wheel_stop(p->wheel, &p->other->timer);
	if (p->again_ms)
		wheel_start(p->wheel, t, p->now, p->again_ms);
}

static void fires_when_due_never_earlier(void **state)
{
	static const uint64_t afters[] = {
	    0, 1, 99, 100, 101, 150, 5000, TURN_MS - 1, TURN_MS, TURN_MS + 1, 10 * TURN_MS + 50};
	static const uint64_t begins[] = {0, 1, 12345, 99999999999};
	struct wheel w;

	(void)state;
	for (size_t i = 0; i < sizeof(afters) / sizeof(*afters); i++) {
		for (size_t j = 0; j < sizeof(begins) / sizeof(*begins); j++) {
			struct probe p = {.timer.fire = on_fire};
			uint64_t now = begins[j], due = now + afters[i];

			wheel_init(&w, now);
			wheel_start(&w, &p.timer, now, afters[i]);
			for (; now < due; now += 37) {
				wheel_advance(&w, now);
				if (p.fired)
					fail_msg("after %d ms from %d: early", (int)afters[i], (int)begins[j]);
			}
			wheel_advance(&w, due + WHEEL_TICK_MS);
			assert_int_equal(p.fired, 1);
			assert_false(wheel_is_running(&p.timer));
			assert_int_equal(w.count, 0);
		}
	}
}

static void a_fired_timer_may_stop_its_neighbour(void **state)
{
	struct wheel w;
	struct probe a = {.timer.fire = on_fire, .wheel = &w}, b = {.timer.fire = on_fire, .wheel = &w};

	(void)state;
	a.other = &b;
	b.other = &a;
	wheel_init(&w, 1000);
	wheel_start(&w, &a.timer, 1000, 300);
	wheel_start(&w, &b.timer, 1000, 300);
	wheel_advance(&w, 2000);
	assert_int_equal(a.fired + b.fired, 1);
	assert_int_equal(w.count, 0);
}

static void a_timer_may_start_itself_again(void **state)
{
	struct wheel w;
	struct probe p = {
	    .timer.fire = on_fire, .wheel = &w, .again_ms = TURN_MS}; /* into the slot that is being served */

	(void)state;
	wheel_init(&w, 0);
	wheel_start(&w, &p.timer, 0, 100);
	for (uint64_t now = 0; now <= 100 + 3 * TURN_MS; now += WHEEL_TICK_MS) {
		p.now = now;
		wheel_advance(&w, now);
	}
	assert_int_equal(p.fired, 4);
	wheel_stop(&w, &p.timer);
	wheel_stop(&w, &p.timer);
	assert_int_equal(w.count, 0);
}

static void a_long_sleep_fires_all(void **state)
{
	struct wheel w;
	struct probe p[100] = {0};

	(void)state;
	wheel_init(&w, 0);
	for (unsigned i = 0; i < 100; i++) {
		p[i].timer.fire = on_fire;
		wheel_start(&w, &p[i].timer, 0, i * 1777);
	}
	wheel_advance(&w, 1000000); /* as after a suspend */
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(p[i].fired, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(fires_when_due_never_earlier),
	    cmocka_unit_test(a_fired_timer_may_stop_its_neighbour),
	    cmocka_unit_test(a_timer_may_start_itself_again),
	    cmocka_unit_test(a_long_sleep_fires_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
