/*
 * ctl_spool: what "lumnictl spool" does with batches, wherever they come from:
 * from lumnid, or from the files of one that is stopped.
 */
#ifndef LUMNID_CTL_CTL_SPOOL_H
#define LUMNID_CTL_CTL_SPOOL_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cdefs.h"
#include "base/why.h"
#include "ctl/ctl.h"
#include "ctl/ctl_term.h"

enum ctl_spool_verb { CTL_SPOOL_LS, CTL_SPOOL_SHOW, CTL_SPOOL_EXPORT };

/* What was asked for, and how far it is. */
struct ctl_spool {
	const struct ctl *ctl;
	enum ctl_spool_verb verb;
	const char	*run;		/* only of this run, or NULL */
	char *const	*ids;		/* only these batches */
	size_t		 ids_n;
	uint64_t	 limit;		/* batches, at most */
	struct ctl_term	 term;
	struct buf	 out;
	uint64_t	 seen;		/* batches */
	uint64_t	 gone;		/* left while they were read */
	uint64_t	 bad;		/* whose body is none */
};

/* Is it one of those asked for? */
bool	ctl_spool_wants(const struct ctl_spool *, const char *id,
	    const char *runid);
/* Print a batch of "ls". batch: the object of GET /spool. 0 or -EPIPE. */
int	ctl_spool_put_ls(struct ctl_spool *, struct json_object *batch);
/*
 * Print a batch of "show" or "export"; the body as it is stored. 0 or -EPIPE.
 */
int	ctl_spool_put_body(struct ctl_spool *, struct json_object *batch,
	    const void *body, size_t len);

/* The two sources; they return the exit status, after messages. */
int	ctl_spool_from_lumnid(struct ctl_spool *);
int	ctl_spool_from_dir(struct ctl_spool *, const char *dir);

#endif
