/*
 * inbox_dir: the directories of the inbox: new/, cur/ and bad/ are held open;
 * what lies in one is listed in the order of names, a piece at a time.
 */
#ifndef LUMNID_LOOP_INBOX_DIR_H
#define LUMNID_LOOP_INBOX_DIR_H

#include <dirent.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/cdefs.h"

#define INBOX_NAME_MAX	200	/* letters of a file's name */
#define INBOX_LIST_MAX	1024	/* names of one list */

struct inbox_dir {
	const char	*path;		/* borrowed */
	int		 fresh, cur, bad;	/* -1: not open */
};

void	inbox_dir_init(struct inbox_dir *, const char *path);
/* Open them; new/, cur/, bad/ and tmp/ are made. Returns NULL or why not. */
const char *inbox_dir_open(struct inbox_dir *) MUSTUSE;
void	inbox_dir_close(struct inbox_dir *);
/* Are those that are open still the ones at the path? */
bool	inbox_dir_is_there(const struct inbox_dir *);

/* The first names of a directory, sorted. */
struct inbox_list {
	DIR	*walk;			/* NULL: none is under way */
	char	*names[INBOX_LIST_MAX];
	size_t	 n, next;
};

void	inbox_list_clear(struct inbox_list *);
/*
 * Read on in the directory, some thousand entries at the most; names that
 * begin with a dot or are too long are passed over.
 * Returns 1: call again; 0: the list is whole; -errno.
 */
int	inbox_list_read(struct inbox_list *, int dir) MUSTUSE;
/* The next name, or NULL; valid until the next is asked for. */
const char *inbox_list_next(struct inbox_list *);

#endif
