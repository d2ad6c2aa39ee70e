/* engine_room: storage.spool_max, which holds for each of the two spools. */
#include "core/engine_int.h"

/* false: there is still room. */
static bool
engine_room_note(struct engine *e, bool records, uint64_t used, struct now now)
{
	struct engine_spool_room *room = records ? &e->records_room :
	    &e->runs_room;
	const char *which = records ? "records" : "runs";
	bool drop = e->conf->storage.when_full == CONF_DROP_OLDEST;
	uint64_t n;

	if (used < e->conf->storage.spool_max) {
		room->drop_credit = 0;
		if (room->full) {
			room->full = false;
			log_info("spool_room", LS("spool", which),
			    LU("bytes", used));
		}
		return false;
	}
	if (!room->full || log_limit_hit(&room->limit, now.mono.us, &n))
		log_warn("spool_full", LS("spool", which), LU("bytes", used),
		    LU("limit", e->conf->storage.spool_max),
		    LS("consequence", !drop && records ?
		    "changes and policies are refused" : !drop ?
		    "runs wait in the journal" : records ?
		    "the oldest changes and policies are dropped" :
		    "the oldest batches are dropped"));
	room->full = true;
	return true;
}

bool
engine_spool_room(struct engine *e, bool records, struct now now)
{
	struct spool *sp = records ? e->records : e->spool;
	struct engine_spool_room *room = records ? &e->records_room :
	    &e->runs_room;
	uint64_t used = spool_bytes(sp);

	/* One record may be larger than the limit, and be all there is. */
	if (records && spool_waiting(sp).batches == 0)
		used = 0;
	if (!engine_room_note(e, records, used, now))
		return true;
	if (e->conf->storage.when_full != CONF_DROP_OLDEST)
		return false;
	/*
	 * A file shrinks only when its last batch is gone, so count what was
	 * given up, or the whole spool would go before the first file does.
	 */
	while (used - room->drop_credit >= e->conf->storage.spool_max) {
		struct spool_waiting before = spool_waiting(sp);
		if (sender_drop_oldest(e->sender, records, SPOOL_DROP_OLDEST,
		    now) == 0)
			return false;
		room->drop_credit += before.bytes -
		    spool_waiting(sp).bytes + 1;
		if (room->drop_credit > used)
			room->drop_credit = used;
	}
	return true;
}
