/*
 * confdoc: writes what is made from the configuration's key table:
 *   confdoc example   conf/lumnid.yaml
 *   confdoc mdoc      the list of keys in doc/lumnid.yaml.5
 * Paths of this build's prefix become those of the packages.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/conf.h"

/* Copy text to stdout, each `from` in it as `to`. */
static void
put_replaced(const char *text, const char *const (*pairs)[2], size_t n)
{
	while (*text != '\0') {
		size_t i = 0;
		while (i < n && strncmp(text, pairs[i][0],
		    strlen(pairs[i][0])) != 0)
			i++;
		if (i < n) {
			fputs(pairs[i][1], stdout);
			text += strlen(pairs[i][0]);
		} else {
			putchar(*text++);
		}
	}
}

int
main(int argc, char **argv)
{
	static const char *const pairs[][2] = {
		{ RUNSTATEDIR "/lumnid/", "/run/lumnid/" },
		{ LOCALSTATEDIR "/lib/lumnid", "/var/lib/lumnid" },
	};
	char *text;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (f == NULL)
		return EXIT_FAILURE;
	if (argc == 2 && strcmp(argv[1], "example") == 0) {
		conf_print_example(f);
	} else if (argc == 2 && strcmp(argv[1], "mdoc") == 0) {
		conf_print_mdoc(f);
	} else {
		fputs("usage: confdoc example|mdoc\n", stderr);
		return 2;
	}
	if (fclose(f) != 0)
		return EXIT_FAILURE;
	put_replaced(text, pairs, NELEM(pairs));
	free(text);
	return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
