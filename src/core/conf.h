/*
 * conf: the configuration: one table of keys (conf_table.c), a YAML reader
 * that names file, line and column (conf_yaml.c), and printers
 * (conf_print.c). A struct conf is never changed once it is in use.
 */
#ifndef LUMNID_CORE_CONF_H
#define LUMNID_CORE_CONF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/cdefs.h"
#include "base/secret.h"
#include "base/why.h"

struct redact;

enum conf_http { CONF_HTTP_AUTO, CONF_HTTP_1_1, CONF_HTTP_2 };
enum conf_compression { CONF_ZSTD, CONF_NONE };
enum conf_tls { CONF_TLS_1_2, CONF_TLS_1_3 };
enum conf_durability { CONF_DURABILITY_ACK, CONF_DURABILITY_ALWAYS,
    CONF_DURABILITY_NEVER };
enum conf_when_full { CONF_REFUSE, CONF_DROP_OLDEST };
enum conf_log_format { CONF_LOG_TEXT, CONF_LOG_JSON };

struct conf_list {		/* of strings */
	char	**v;
	size_t	  n;
};

/* One rule of redaction; see codec/redact.h. */
struct conf_rule {
	char		*what;		/* key, path or regex; NULL: `name` is */
					/* a built-in pattern's */
	char		*name;		/* NULL: made of `what` */
	int		 action;	/* enum redact_action */
	unsigned	 line, column;	/* in the file; 0: not from one */
};

struct conf_rules {
	struct conf_rule *v;
	size_t		  n;
};

struct conf_socket {		/* listen.unix, listen.dgram */
	char		*path;		/* "" : not listened on */
	uint32_t	 mode;		/* octal permission bits */
	char		*group;		/* "" : the process's own */
	struct conf_list allow_uids;	/* numbers or names; unix only */
};

/* Where a value came from, for --print-config. */
enum conf_origin { CONF_DEFAULT, CONF_FILE, CONF_ENV, CONF_FLAG };

struct conf {
	struct {
		char		*url;		/* no slash at its end */
		char		*unix_socket;
		char		*api_key_file;
		struct secret	*api_key;	/* from LUMNI_API_KEY */
		int64_t		 timeout_ms;
		uint64_t	 connections;
		int		 http;		/* enum conf_http */
		int		 compression;
		uint64_t	 level;
		char		*proxy;		/* "": environment; "none" */
		char		*ca_file;
		char		*cert_file;
		char		*key_file;
		int		 tls_min;
	} upstream;
	struct {
		struct conf_socket unix_stream;
		struct conf_socket dgram;
		/* "" for none; core/conf_addr.h parses them. */
		char		*udp;
		char		*http;
		bool		 http_require_key;
		/* A path, "auto" or "": conf_control_path() has the path. */
		char		*control;
		char		*forward_tcp;
		char		*inbox;		/* "": none */
		bool		 allow_remote;
	} listen;
	struct {
		bool		 stamp_at;
		uint64_t	 max_message;	/* bytes */
	} events;
	struct {
		int64_t		 idle_ms;
		int64_t		 max_age_ms;
		uint64_t	 max_events;
		uint64_t	 max_bytes;
		uint64_t	 max_open;
		struct conf_list end_types;
	} runs;
	struct {
		char		*dir;
		int		 durability;
		uint64_t	 journal_max;
		uint64_t	 spool_max;
		uint64_t	 free_min;	/* bytes; 0: 5 % or 256 MiB */
		int		 when_full;
		int64_t		 max_age_ms;	/* 0: never dropped for age */
		int64_t		 dead_max_age_ms;
		uint64_t	 dead_max;
	} storage;
	struct {
		struct conf_rules keys;
		struct conf_rules paths;
		struct conf_rules patterns;
		uint64_t	 max_string;	/* bytes; 0: no limit */
		char		*hash_key_file;
		struct redact	*set;	/* conf_compile(); NULL: no rules */
	} redact;
	struct {
		int		 level;		/* enum log_level */
		int		 format;	/* enum conf_log_format */
	} log;
	struct {
		uint64_t	 connections;
		uint64_t	 connections_per_uid;
		uint64_t	 uid_events_per_s;	/* 0: no limit */
		uint64_t	 uid_bytes_per_s;
	} limits;
	char		*file;		/* where it was read from, for messages */
	unsigned char	*origins;	/* by key, enum conf_origin */
	unsigned	*lines;		/* by key, in file; 0: none */
};

/*
 * Read a YAML file (NULL: defaults only), then the environment
 * (LUMNI_API_KEY; systemd's CREDENTIALS_DIRECTORY, whose api_key is the
 * default of upstream.api_key_file), and conf_check() and conf_compile() it
 * unless `partial`.
 * Returns 0 and a new conf, or -errno with "file:line:column: text" in why.
 */
int	conf_load(const char *file, bool partial, struct conf **ret,
	    struct why *) MUSTUSE;
/* The same from memory; name is used in messages. */
int	conf_parse(const char *text, size_t len, const char *name,
	    bool partial, struct conf **ret, struct why *) MUSTUSE;
void	conf_free(struct conf *);
/*
 * Set one key from text ("runs.idle", "10s"), as a command line flag does:
 * list items stand between commas, and a relative path is made absolute.
 * After the last one come conf_check() and conf_compile(). Returns 0 or -EINVAL.
 */
int	conf_set(struct conf *, const char *key, const char *value,
	    struct why *) MUSTUSE;
/*
 * What needs more than one key: the upstream's URL is set, addresses that
 * other hosts can reach are allowed, limits fit into each other. Returns 0 or
 * -EINVAL.
 */
int	conf_check(const struct conf *, struct why *) MUSTUSE;
/*
 * Make the set of redaction rules, redact.set, and read the key of its hashes.
 * Returns 0, -EINVAL with the place of a rule that is none, or what
 * conf_secret_file() returns.
 */
int	conf_compile(struct conf *, struct why *) MUSTUSE;

/*
 * The control socket's path; "" when there is none. dst: n bytes; returned. It
 * may be too long for a socket where it was not set but derived.
 */
const char *conf_control_path(const struct conf *, char *dst, size_t n);

/*
 * A value of this key could not be put in force: put "file:line: " before the
 * text in why, where the key stands in a file. Returns code.
 */
int	conf_why_at(const struct conf *, const char *key, int code,
	    struct why *);

/* Effective values with origins, secrets masked, as YAML. */
void	conf_print(const struct conf *, FILE *);
/* The commented example file, made from the table. */
void	conf_print_example(FILE *);
/* The key table as mdoc(7) list items, for lumnid.yaml(5). */
void	conf_print_mdoc(FILE *);
/*
 * Names of keys that differ and need a restart, separated by commas; "" when
 * none. dst: room for n bytes.
 */
const char *conf_restart_keys(const struct conf *, const struct conf *,
	    char *dst, size_t n);

/*
 * The API key in force: the content of api_key_file (trailing white space
 * cut), else LUMNI_API_KEY. Returns 0, -ENOENT when neither is set, the file is
 * absent or systemd's credential is blank, -EPERM when others can read the
 * file (why says the chmod), -EINVAL for an empty or many-lined file, -errno.
 * *ret_mtime_ns: of the file, or 0.
 */
int	conf_api_key(const struct conf *, char *dst, size_t n,
	    int64_t *ret_mtime_ns, struct why *) MUSTUSE;
/*
 * The secret that a file holds: one line of printable letters without blanks.
 * what: its name, for errors, which never repeat it. Returns as above, and
 * -ENODATA for a file that is empty.
 */
int	conf_secret_file(const char *path, const char *what, char *dst,
	    size_t n, int64_t *ret_mtime_ns, struct why *) MUSTUSE;
/*
 * Is the key file not one of the configuration but systemd's credential
 * ($CREDENTIALS_DIRECTORY/api_key)? A service is installed before its key is.
 */
bool	conf_key_is_credential(const struct conf *);

#endif
