/*
 * ctl_json: json-c for lumnictl: what lumnid says is read and printed with it.
 * Where there is no memory the process ends, in words.
 */
#ifndef LUMNID_CTL_CTL_JSON_H
#define LUMNID_CTL_CTL_JSON_H

#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"

/* As deep as what lumnid takes and says; never NULL. */
struct json_tokener *ctl_json_tokener(void);

/* Members of an object, by a path such as "upstream.state". */
int64_t		 ctl_json_int(struct json_object *, const char *path);
double		 ctl_json_double(struct json_object *, const char *path);
bool		 ctl_json_bool(struct json_object *, const char *path);
/* "" where there is none; the object's, as long as it lives. */
const char	*ctl_json_text(struct json_object *, const char *path);

/*
 * The object as text, whole and never NULL; its, as long as it lives. style:
 * JSON_C_TO_STRING_PLAIN or JSON_C_TO_STRING_PRETTY.
 */
const char	*ctl_json_print(struct json_object *, int style);
/* The same, as what is safe on a terminal, and a line end. */
void		 ctl_json_put(struct buf *, struct json_object *, int style);

#endif
