/*
 * xdg: where a user's own lumnid has its files, as the XDG Base Directory
 * Specification says: sockets below $XDG_RUNTIME_DIR, state below
 * $XDG_STATE_HOME. lumnid and lumnictl have to agree on it.
 */
#ifndef LUMNID_BASE_XDG_H
#define LUMNID_BASE_XDG_H

#include <stdbool.h>
#include <stddef.h>

#include "base/cdefs.h"

/*
 * $XDG_STATE_HOME/lumnid, or ~/.local/state/lumnid. dst: n bytes. Returns 0;
 * -ENOENT when there is no home either; -ENAMETOOLONG.
 */
int	xdg_state_dir(char *dst, size_t n) MUSTUSE;
/*
 * $XDG_RUNTIME_DIR/lumnid, or, without the variable, run/ in the state's.
 * *ret_fallback: which it is; may be NULL. As xdg_state_dir().
 */
int	xdg_run_dir(char *dst, size_t n, bool *ret_fallback) MUSTUSE;
/* The directory and those above it, mode 0700 where made. 0 or -errno. */
int	xdg_make_dir(const char *path) MUSTUSE;

#endif
