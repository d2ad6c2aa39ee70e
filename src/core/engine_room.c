/* engine_room: storage.spool_max, which holds for each of the two spools. */
#include "core/engine_int.h"

/* What happens at the limit: [records][drop_oldest]. */
static const char *const engine_room_consequences[2][2] = {
	{ "runs wait in the journal", "the oldest batches are dropped" },
	{ "changes and policies are refused",
	    "the oldest changes and policies are dropped" },
};

bool
engine_spool_room(struct engine *e, bool records, struct now now)
{
	struct spool *sp = records ? e->records : e->spool;
	struct engine_spool_room *room = records ? &e->records_room :
	    &e->runs_room;
	const char *which = records ? "records" : "runs";
	bool drop = e->conf->storage.when_full == CONF_DROP_OLDEST;
	uint64_t max = e->conf->storage.spool_max;
	uint64_t used = spool_bytes(sp), n;

	/* One record may be larger than the limit, and be all there is. */
	if (records && spool_waiting(sp).batches == 0)
		used = 0;
	if (used < max) {
		room->drop_credit = 0;
		if (room->full)
			log_info("spool_room", LS("spool", which),
			    LU("bytes", used));
		room->full = false;
		return true;
	}
	if (!room->full || log_limit_hit(&room->limit, now.mono.us, &n))
		log_warn("spool_full", LS("spool", which), LU("bytes", used),
		    LU("limit", max), LS("consequence",
		    engine_room_consequences[records][drop]));
	room->full = true;
	if (!drop)
		return false;
	/*
	 * A file shrinks only when its last batch is gone, so count what was
	 * given up, or the whole spool would go before the first file does.
	 */
	while (used - room->drop_credit >= max) {
		uint64_t before = spool_waiting(sp).bytes;
		if (sender_drop_oldest(e->sender, records, SPOOL_DROP_OLDEST,
		    now) == 0)
			return false;
		room->drop_credit += before - spool_waiting(sp).bytes + 1;
		if (room->drop_credit > used)
			room->drop_credit = used;
	}
	return true;
}
