/*
 * ctl_term: text for people: widths, colours, numbers, and nothing of others
 * that could steer their terminal.
 */
#ifndef LUMNID_CTL_CTL_TERM_H
#define LUMNID_CTL_CTL_TERM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cdefs.h"

enum ctl_color {
	CTL_PLAIN,
	CTL_BOLD,
	CTL_DIM,
	CTL_RED,
	CTL_GREEN,
	CTL_YELLOW,
	CTL_CYAN,
};

struct ctl_term {
	bool	tty;
	bool	color;	/* a terminal, without NO_COLOR (no-color.org) */
	size_t	width;	/* columns; SIZE_MAX: as many as it takes */
	size_t	height;	/* of a terminal */
};

/* What the file is; asked again after SIGWINCH. */
void	ctl_term_look(struct ctl_term *, int fd);

/*
 * Append text of others: control characters, those that turn the direction of
 * writing, and what is no UTF-8 become '?'; cut at `width` columns, with an
 * ellipsis. Returns the columns that it takes.
 */
size_t	ctl_term_text(struct buf *, const char *, size_t len, size_t width);
/* The same, and blanks up to that width. */
void	ctl_term_cell(struct buf *, const char *, size_t len, size_t width);
/* In a colour, where there are colours. */
void	ctl_term_paint(struct buf *, const struct ctl_term *, enum ctl_color,
	    const char *text);
/* Switch colours by hand; CTL_PLAIN ends it. */
void	ctl_term_switch(struct buf *, const struct ctl_term *,
	    enum ctl_color);
/*
 * Append JSON text as it may go to a terminal: DEL, the C1 controls and what
 * turns the direction of writing as \u escapes, so that it stays the same JSON.
 */
void	ctl_term_json(struct buf *, const char *, size_t len);

/* "1.2 MiB", "12 s", "1,234,567"; dst: 32 bytes; returned. */
const char *ctl_term_bytes(uint64_t, char dst[32]);
const char *ctl_term_ms(int64_t ms, char dst[32]);
const char *ctl_term_count(uint64_t, char dst[32]);
/* "12.5", "1,234": as exact as it is of use. */
const char *ctl_term_rate(double, char dst[32]);

/* Write it to standard output and empty it. Returns -1 when that is closed. */
int	ctl_term_put(struct buf *);

#endif
