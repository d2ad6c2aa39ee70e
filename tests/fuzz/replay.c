/*
 * replay: the main() of a fuzz target without a fuzzer: gives it each file
 * that is named, whole directories too, and some cut short. "make check" runs
 * the corpora so, with any compiler.
 */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int	LLVMFuzzerTestOneInput(const uint8_t *, size_t);

static unsigned long replay_n;

/* The file's first `size` bytes. */
static void
replay_bytes(const char *path, size_t size)
{
	/* Exactly as large as the input, so that a sanitizer sees its end. */
	uint8_t *data = malloc(size != 0 ? size : 1);
	FILE *f = fopen(path, "rb");

	if (data == NULL || f == NULL || fread(data, 1, size, f) != size) {
		perror(path);
		exit(EXIT_FAILURE);
	}
	(void)fclose(f);	/* only read from */
	(void)LLVMFuzzerTestOneInput(data, size);
	free(data);
}

static void
replay_file(const char *path, size_t size)
{
	for (size_t quarters = 1; quarters <= 4; quarters++)
		replay_bytes(path, size * quarters / 4);
	replay_n++;
}

static void
replay_path(const char *path)
{
	struct stat st;

	if (stat(path, &st) < 0) {
		perror(path);
		exit(EXIT_FAILURE);
	}
	if (!S_ISDIR(st.st_mode)) {
		replay_file(path, (size_t)st.st_size);
		return;
	}
	struct dirent **names;
	int n = scandir(path, &names, NULL, alphasort);
	for (int i = 0; i < n; i++) {
		char *sub;
		if (names[i]->d_name[0] != '.' &&
		    asprintf(&sub, "%s/%s", path, names[i]->d_name) > 0) {
			replay_path(sub);
			free(sub);
		}
		free(names[i]);
	}
	if (n >= 0)
		free(names);
}

int
main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		replay_path(argv[i]);
	printf("%lu inputs\n", replay_n);
	return replay_n > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
