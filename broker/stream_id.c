#include "config.h"

#include "broker/session.h"
#include "broker/stream_priv.h"
#include "common/banned.h"

struct slice stream_put_event_id(const struct stream *s, uint64_t position, uint64_t seq, struct stream_id *id)
{
	uint64_t epoch = stream_epoch_at(s, position);
	char digits[20], *p = digits + sizeof(digits);
	size_t len;

	if (id->head_len == 0 || id->epoch != epoch) {
		link_event_id(s->handle, epoch, 0, id->text);
		id->head_len = strlen(id->text) - 1;
		id->epoch = epoch;
	}
	do
		*--p = (char)('0' + seq % 10);
	while (seq /= 10);
	len = (size_t)(digits + sizeof(digits) - p);
	memcpy(id->text + id->head_len, p, len);
	id->text[id->head_len + len] = '\0';
	return (struct slice){id->text, id->head_len + len};
}

/* Takes "NUMBER" and, unless at the end, the dot after it. */
static bool cut_number(struct slice *text, uint64_t *n)
{
	size_t i = 0;

	*n = 0;
	for (; i < text->len && text->p[i] >= '0' && text->p[i] <= '9'; i++) {
		unsigned digit = (unsigned)(text->p[i] - '0');

		if (*n > (UINT64_MAX - digit) / 10)
			return false;
		*n = *n * 10 + digit;
	}
	if (i == 0 || (i < text->len && text->p[i] != '.'))
		return false;
	if (i < text->len && ++i == text->len) /* a dot, and nothing after it */
		return false;
	text->p += i;
	text->len -= i;
	return true;
}

/* The last sequence that an earlier epoch had committed. -1: it isn't known. */
static int last_of_epoch(const struct stream *s, uint64_t epoch, uint64_t *last, bool *is_whole)
{
	const struct store *store = s->broker->store;
	uint64_t low = s->first_seq, high = s->last_seq + 1; /* the first that is of a later one is among these */
	size_t i = 0;

	while (i < store->epochs_count && store->epochs[i].epoch != epoch)
		i++;
	if (i == store->epochs_count)
		return -1;
	while (low < high) {
		uint64_t middle = low + (high - low) / 2;

		if (stream_event_at(s, middle)->position < store->epochs[i].end)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == s->first_seq && s->gone_epoch > epoch) /* what a later one had was forgotten after it */
		return -1;
	*last = low - 1;
	*is_whole = store->epochs[i].is_whole;
	return 0;
}

/* Takes n of an earlier epoch to the place in the log where its client goes on. */
static unsigned find_in_epoch(const struct stream *s, uint64_t epoch, uint64_t *n)
{
	uint64_t last;
	bool is_whole;

	if (last_of_epoch(s, epoch, &last, &is_whole))
		return LINK_NACK_GAP;
	if (*n <= last)
		return 0;
	if (!is_whole || last + 1 < s->first_seq)
		return LINK_NACK_GAP;
	*n = last; /* what it saw beyond did not wait for its commit: nothing durable */
	return 0;
}

unsigned stream_find_event_id(struct session *session, struct slice id, struct stream **stream, uint64_t *seq)
{
	struct broker *b = session->broker;
	uint64_t handle, epoch, n;
	struct stream *s;

	if (!cut_number(&id, &handle) || !cut_number(&id, &epoch) || !cut_number(&id, &n) || id.len > 0)
		return LINK_NACK_GAP;
	s = stream_find(b, handle);
	if (!s || s->session != session)
		return LINK_NACK_GAP;
	if (epoch != b->store->epoch && find_in_epoch(s, epoch, &n))
		return LINK_NACK_GAP;
	if (n > s->ready_seq || n + 1 < s->first_seq)
		return LINK_NACK_GAP;
	if (s->state == STREAM_FINISHED && (s->is_void || n == s->last_seq))
		return LINK_NACK_DELIVERED;
	*stream = s;
	*seq = n;
	return 0;
}
