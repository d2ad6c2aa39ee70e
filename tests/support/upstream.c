/*
 * upstream: a stand-in for Lumni's ingest API. It holds every request to the
 * contract (up_check), plays scripted faults (up_script), and writes each
 * request as a JSON line before it answers (up_record).
 *
 * Beside the API it serves the tests that drive it:
 *	GET  /_test/stats	the sums, as JSON
 *	GET  /_test/wait?events=N&requests=N&batches=N&records=N
 *				the same, once all these sums are reached
 *	POST /_test/script	replace the fault rules by those in the body
 *
 * It never looks at lumnid's code, and links none of it.
 */
#include <errno.h>
#include <getopt.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <event2/event.h>
#include <event2/http.h>
#include <event2/listener.h>

#include "support/up_serve.h"
#include "support/up_tls.h"

static void
on_signal(evutil_socket_t sig, short what, void *arg)
{
	struct upstream *up = arg;

	(void)what;
	if (sig == SIGHUP)
		(void)up_serve_read_script(up);
	else
		(void)event_base_loopbreak(up->base);
}

/* --- listening --- */

static int
listen_unix(struct upstream *up, const char *path)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct evconnlistener *l;

	if (strlen(path) >= sizeof sun.sun_path)
		return -ENAMETOOLONG;
	(void)strcpy(sun.sun_path, path);
	(void)unlink(path);
	l = evconnlistener_new_bind(up->base, NULL, NULL,
	    LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 512,
	    (struct sockaddr *)&sun, sizeof sun);
	if (l == NULL || evhttp_bind_listener(up->http, l) == NULL)
		return -errno;
	return 0;
}

/* Returns the port or -errno. */
static int
listen_tcp(struct upstream *up, const char *host, int port)
{
	struct sockaddr_storage ss;
	socklen_t n = sizeof ss;
	struct evhttp_bound_socket *s = evhttp_bind_socket_with_handle(
	    up->http, host, (uint16_t)port);

	if (s == NULL || getsockname(evhttp_bound_socket_get_fd(s),
	    (struct sockaddr *)&ss, &n) < 0)
		return -errno;
	return ntohs(ss.ss_family == AF_INET6 ?
	    ((struct sockaddr_in6 *)&ss)->sin6_port :
	    ((struct sockaddr_in *)&ss)->sin_port);
}

static int
write_port(const char *path, int port)
{
	char tmp[4096];
	FILE *f;

	(void)snprintf(tmp, sizeof tmp, "%s.new", path);
	f = fopen(tmp, "we");
	if (f == NULL || fprintf(f, "%d\n", port) < 0 || fclose(f) != 0)
		return -errno;
	return rename(tmp, path) < 0 ? -errno : 0;
}

static void
usage(void)
{
	(void)fprintf(stderr, "usage: upstream [--port N | --unix PATH] "
	    "[--host ADDRESS] [--port-file FILE]\n\t[--out FILE] "
	    "[--script FILE] [--key KEY] [--dedupe] [--cheap FILE]\n"
	    "\t[--idle-timeout SECONDS] [--show]\n"
	    "\t[--tls-cert FILE --tls-key FILE [--tls-client-ca FILE]]\n");
	exit(2);
}

static const struct option options[] = {
	{ "port", required_argument, NULL, 'p' },
	{ "unix", required_argument, NULL, 'u' },
	{ "host", required_argument, NULL, 'h' },
	{ "port-file", required_argument, NULL, 'f' },
	{ "out", required_argument, NULL, 'o' },
	{ "script", required_argument, NULL, 's' },
	{ "key", required_argument, NULL, 'k' },
	{ "dedupe", no_argument, NULL, 'd' },
	{ "cheap", required_argument, NULL, 'c' },
	{ "idle-timeout", required_argument, NULL, 'i' },
	{ "show", no_argument, NULL, 'S' },
	{ "tls-cert", required_argument, NULL, 'C' },
	{ "tls-key", required_argument, NULL, 'K' },
	{ "tls-client-ca", required_argument, NULL, 'A' },
	{ NULL, 0, NULL, 0 },
};

struct settings {
	const char	*unix_path, *host, *port_file;
	const char	*cert, *cert_key, *client_ca;
	int		 port, idle_s;
};

static void
read_options(struct upstream *up, struct settings *set, int argc, char **argv)
{
	int c;

	while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
		switch (c) {
		case 'p':
			set->port = atoi(optarg);
			break;
		case 'u':
			set->unix_path = optarg;
			break;
		case 'h':
			set->host = optarg;
			break;
		case 'f':
			set->port_file = optarg;
			break;
		case 'o':
			up->out_path = optarg;
			break;
		case 's':
			up->script_path = optarg;
			break;
		case 'k':
			(void)snprintf(up->key, sizeof up->key, "%s", optarg);
			break;
		case 'd':
			up->dedupe = true;
			break;
		case 'c':
			up->cheap = fopen(optarg, "w+e");
			if (up->cheap == NULL) {
				perror(optarg);
				exit(1);
			}
			break;
		case 'C':
			set->cert = optarg;
			break;
		case 'K':
			set->cert_key = optarg;
			break;
		case 'A':
			set->client_ca = optarg;
			break;
		case 'S':
			up->show = true;
			break;
		case 'i':
			set->idle_s = atoi(optarg);
			break;
		default:
			usage();
		}
	}
	if (optind != argc)
		usage();
}

static void
start(struct upstream *up, const struct settings *set)
{
	int r;

	evhttp_set_timeout(up->http, set->idle_s);
	up_serve_begin(up);

	if (up->out_path != NULL &&
	    (r = up_record_open(&up->record, up->out_path)) < 0) {
		(void)fprintf(stderr, "upstream: %s: %s\n", up->out_path,
		    strerror(-r));
		exit(1);
	}
	if (up->script_path != NULL && !up_serve_read_script(up))
		exit(1);
	if (set->cert != NULL && (up->tls = up_tls_new(set->cert,
	    set->cert_key, set->client_ca)) == NULL)
		exit(1);
	r = set->unix_path != NULL ? listen_unix(up, set->unix_path) :
	    listen_tcp(up, set->host, set->port);
	if (r >= 0 && set->port_file != NULL) {
		int w = write_port(set->port_file, r);

		r = w < 0 ? w : r;
	}
	if (r < 0) {
		(void)fprintf(stderr, "upstream: listen: %s\n",
		    strerror(-r));
		exit(1);
	}
	/* Whoever started us waits for this line. */
	(void)printf("listening %d\n", r);
	(void)fflush(stdout);
}

int
main(int argc, char **argv)
{
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP };
	struct settings set = { .host = "127.0.0.1", .idle_s = 600 };
	struct upstream up = { .record.out = -1 };
	struct event *ev[3];
	int i;

	(void)signal(SIGPIPE, SIG_IGN);
	read_options(&up, &set, argc, argv);
	up.base = event_base_new();
	up.http = evhttp_new(up.base);
	for (i = 0; i < 3; i++) {
		ev[i] = evsignal_new(up.base, signals[i], on_signal, &up);
		(void)event_add(ev[i], NULL);
	}
	start(&up, &set);
	(void)event_base_dispatch(up.base);

	if (set.unix_path != NULL)
		(void)unlink(set.unix_path);
	up_serve_end(&up);
	evhttp_free(up.http);
	for (i = 0; i < 3; i++)
		event_free(ev[i]);
	event_base_free(up.base);
	if (up.cheap != NULL)
		up_serve_unfold(&up);
	up_script_free(up.script);
	up_tls_free(up.tls);
	up_record_close(&up.record);
	return 0;
}
