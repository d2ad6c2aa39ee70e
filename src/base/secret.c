/* secret: pages by mmap(2); no more than a handful at a time. */
#include "base/secret.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/mem.h"

struct secret {
	size_t		refs;
	size_t		size;	/* of the mapping */
	char		text[];
};

struct secret *
secret_new(const char *head, const char *text, size_t len)
{
	const size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t head_len = strlen(head);
	size_t size = sizeof(struct secret) + head_len + len + 1;

	size = (size + page - 1) / page * page;
	struct secret *s = mmap(NULL, size, PROT_READ | PROT_WRITE,
	    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (s == MAP_FAILED)
		fatal("out of memory: %zu bytes", size);
	/* Advice, and limits: it is usable without them. */
	(void)madvise(s, size, MADV_DONTDUMP);
	(void)mlock(s, size);
	s->refs = 1;
	s->size = size;
	memcpy(s->text, head, head_len);
	memcpy(s->text + head_len, text, len);
	s->text[head_len + len] = '\0';
	return s;
}

struct secret *
secret_ref(struct secret *s)
{
	if (s != NULL)
		s->refs++;
	return s;
}

void
secret_unref(struct secret *s)
{
	if (s == NULL || --s->refs > 0)
		return;
	size_t size = s->size;
	explicit_bzero(s, size);
	(void)munmap(s, size);	/* it was mapped so */
}

char *
secret_text(struct secret *s)
{
	return s->text;
}

struct secret *
secret_from_env(const char *name)
{
	char *value = getenv(name);
	struct secret *s;

	if (value == NULL || value[0] == '\0')
		return NULL;
	size_t len = strlen(value);
	s = secret_new("", value, len);
	explicit_bzero(value, len);
	(void)unsetenv(name);	/* the name is valid */
	return s;
}

int
secret_harden(void)
{
	return prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ? -errno : 0;
}
