/* ctl_json: see ctl_json.h. */
#include "ctl/ctl_json.h"

#include <errno.h>
#include <string.h>

#include "base/mem.h"
#include "codec/jsonin.h"
#include "ctl/ctl_term.h"

struct json_tokener *
ctl_json_tokener(void)
{
	struct json_tokener *tok = json_tokener_new_ex(JSONIN_DEPTH);

	if (tok == NULL)
		fatal("out of memory");
	return tok;
}

static struct json_object *
json_at(struct json_object *o, const char *path)
{
	char name[64];

	while (o != NULL && *path != '\0') {
		size_t n = strcspn(path, ".");

		if (n >= sizeof name || !json_object_is_type(o,
		    json_type_object))
			return NULL;
		memcpy(name, path, n);
		name[n] = '\0';
		if (!json_object_object_get_ex(o, name, &o))
			return NULL;
		path += n + (path[n] == '.');
	}
	return o;
}

int64_t
ctl_json_int(struct json_object *o, const char *path)
{
	return json_object_get_int64(json_at(o, path));
}

double
ctl_json_double(struct json_object *o, const char *path)
{
	return json_object_get_double(json_at(o, path));
}

bool
ctl_json_bool(struct json_object *o, const char *path)
{
	return json_object_get_boolean(json_at(o, path));
}

const char *
ctl_json_text(struct json_object *o, const char *path)
{
	struct json_object *v = json_at(o, path);

	return json_object_is_type(v, json_type_string) ?
	    json_object_get_string(v) : "";
}

const char *
ctl_json_print(struct json_object *o, int style)
{
	errno = 0;

	const char *text = json_object_to_json_string_ext(o,
	    style | JSON_C_TO_STRING_NOSLASHESCAPE);

	if (text == NULL || errno == ENOMEM)
		fatal("out of memory");
	return text;
}

void
ctl_json_put(struct buf *b, struct json_object *o, int style)
{
	const char *text = ctl_json_print(o, style);

	ctl_term_json(b, text, strlen(text));
	buf_putc(b, '\n');
}
