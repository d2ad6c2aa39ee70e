/*
 * timefmt: times as text. The civil calendar is the proleptic Gregorian one;
 * leap seconds do not exist (POSIX), a second of 60 reads as the next minute.
 */
#include "codec/timefmt.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#define TIMEFMT_SECONDS_LEN	19	/* "2026-11-23T12:00:00" */
#define TIMEFMT_DAY	86400
/* Year 0000 to the end of 9999: what RFC 3339 can write. */
#define TIMEFMT_SEC_MIN	(-INT64_C(62167219200))
#define TIMEFMT_SEC_MAX	INT64_C(253402300799)

static const char timefmt_months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
static const char timefmt_days[7][10] = { "Sunday", "Monday", "Tuesday",
	"Wednesday", "Thursday", "Friday", "Saturday" };

/* Days from 1970-01-01 to a date; years begin in March, so leap days end one. */
static int64_t
timefmt_days_from_civil(int64_t year, int month, int day)
{
	year -= month <= 2;
	int64_t era = (year >= 0 ? year : year - 399) / 400;
	int64_t yoe = year - era * 400;
	int64_t doy = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
	int64_t doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;

	return era * 146097 + doe - 719468;
}

static char *
timefmt_two(char *w, int64_t v)
{
	*w++ = (char)('0' + v / 10);
	*w++ = (char)('0' + v % 10);
	return w;
}

/* "2026-11-23T12:00:00" of a second within the years 0000..9999. */
static char *
timefmt_make(char *w, int64_t sec)
{
	int64_t days = sec / TIMEFMT_DAY, rest = sec % TIMEFMT_DAY;

	if (rest < 0) {
		rest += TIMEFMT_DAY;
		days--;
	}
	/* The inverse of timefmt_days_from_civil(). */
	days += 719468;
	int64_t era = (days >= 0 ? days : days - 146096) / 146097;
	int64_t doe = days - era * 146097;
	int64_t yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
	int64_t doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
	int64_t mp = (5 * doy + 2) / 153;
	int64_t month = mp < 10 ? mp + 3 : mp - 9;
	int64_t year = yoe + era * 400 + (month <= 2);

	w = timefmt_two(w, year / 100);
	w = timefmt_two(w, year % 100);
	*w++ = '-';
	w = timefmt_two(w, month);
	*w++ = '-';
	w = timefmt_two(w, doy - (153 * mp + 2) / 5 + 1);
	*w++ = 'T';
	w = timefmt_two(w, rest / 3600);
	*w++ = ':';
	w = timefmt_two(w, rest / 60 % 60);
	*w++ = ':';
	return timefmt_two(w, rest % 60);
}

/* Most are of the second of the one before. */
static char *
timefmt_put(char *w, int64_t sec)
{
	static _Thread_local char text[TIMEFMT_SECONDS_LEN];
	static _Thread_local int64_t of = INT64_MAX;

	if (sec != of) {
		(void)timefmt_make(text, sec);
		of = sec;
	}
	memcpy(w, text, sizeof text);
	return w + sizeof text;
}

/* A point and the n leading digits of a fraction, then "Z" and NUL. */
static char *
timefmt_put_fraction(char *w, uint32_t v, int n)
{
	*w++ = '.';
	for (int i = n - 1; i >= 0; i--, v /= 10)
		w[i] = (char)('0' + v % 10);
	w += n;
	*w++ = 'Z';
	*w = '\0';
	return w;
}

size_t
timefmt_rfc3339_ms(struct wall t, char *dst)
{
	int64_t ms = t.us / 1000 - (t.us % 1000 < 0);
	int64_t sec = ms / 1000 - (ms % 1000 < 0);

	/* A clock beyond these years is broken; the text stays well-formed. */
	if (sec < TIMEFMT_SEC_MIN)
		sec = TIMEFMT_SEC_MIN;
	if (sec > TIMEFMT_SEC_MAX)
		sec = TIMEFMT_SEC_MAX;
	char *w = timefmt_put(dst, sec);
	w = timefmt_put_fraction(w, (uint32_t)(((ms % 1000) + 1000) % 1000), 3);
	return (size_t)(w - dst);
}

size_t
timefmt_rfc3339_ns(int64_t sec, uint32_t ns, char *dst)
{
	if (sec < TIMEFMT_SEC_MIN || sec > TIMEFMT_SEC_MAX || ns >= 1000000000)
		return 0;
	char *w = timefmt_put_fraction(timefmt_put(dst, sec), ns, 9);
	return (size_t)(w - dst);
}

/* Read exactly n digits at *p and step over them; -1 if they are not there. */
static int
timefmt_number(const char **p, int n)
{
	int v = 0;

	for (; n > 0; n--, (*p)++) {
		if (**p < '0' || **p > '9')
			return -1;
		v = v * 10 + (**p - '0');
	}
	return v;
}

/* Step over one character that must be there. */
static bool
timefmt_char(const char **p, char c)
{
	if (**p != c)
		return false;
	(*p)++;
	return true;
}

struct timefmt_civil {
	int	year, month, day, hour, min, sec;
};

static int
timefmt_month_days(int year, int month)
{
	static const int days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30,
		31 };
	bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);

	return days[month - 1] + (month == 2 && leap);
}

/* Seconds since 1970. Returns false when there is no such date or time. */
static bool
timefmt_resolve(const struct timefmt_civil *c, int64_t *ret_sec)
{
	if (c->year < 0 || c->month < 1 || c->month > 12 || c->day < 1 ||
	    c->day > timefmt_month_days(c->year, c->month) || c->hour < 0 ||
	    c->hour > 23 || c->min < 0 || c->min > 59 || c->sec < 0 ||
	    c->sec > 60)
		return false;
	*ret_sec = timefmt_days_from_civil(c->year, c->month, c->day) *
	    TIMEFMT_DAY + c->hour * 3600 + c->min * 60 + c->sec;
	return true;
}

/* hh:mm:ss */
static bool
timefmt_clock(const char **p, struct timefmt_civil *c)
{
	c->hour = timefmt_number(p, 2);
	if (c->hour < 0 || !timefmt_char(p, ':'))
		return false;
	c->min = timefmt_number(p, 2);
	if (c->min < 0 || !timefmt_char(p, ':'))
		return false;
	c->sec = timefmt_number(p, 2);
	return c->sec >= 0;
}

/* "Z" or +hh:mm, as seconds to subtract. */
static bool
timefmt_offset(const char **p, int64_t *ret)
{
	int sign = **p == '-' ? -1 : 1;

	if (**p == 'Z' || **p == 'z') {
		(*p)++;
		*ret = 0;
		return true;
	}
	if (**p != '+' && **p != '-')
		return false;
	(*p)++;
	int hours = timefmt_number(p, 2);
	if (hours < 0 || hours > 23 || !timefmt_char(p, ':'))
		return false;
	int mins = timefmt_number(p, 2);
	if (mins < 0 || mins > 59)
		return false;
	*ret = sign * (hours * 3600 + mins * 60);
	return true;
}

int
timefmt_parse_rfc3339(const char *p, struct wall *ret)
{
	struct timefmt_civil c;
	int64_t sec, offset, us = 0;

	c.year = timefmt_number(&p, 4);
	if (c.year < 0 || !timefmt_char(&p, '-'))
		return -EINVAL;
	c.month = timefmt_number(&p, 2);
	if (c.month < 0 || !timefmt_char(&p, '-'))
		return -EINVAL;
	c.day = timefmt_number(&p, 2);
	if (c.day < 0 || (*p != 'T' && *p != 't' && *p != ' '))
		return -EINVAL;
	p++;
	if (!timefmt_clock(&p, &c) || !timefmt_resolve(&c, &sec))
		return -EINVAL;
	if (timefmt_char(&p, '.')) {
		int64_t unit = 100000;
		if (*p < '0' || *p > '9')
			return -EINVAL;
		for (; *p >= '0' && *p <= '9'; p++, unit /= 10)
			us += (*p - '0') * unit;
	}
	if (!timefmt_offset(&p, &offset) || *p != '\0')
		return -EINVAL;
	ret->us = (sec - offset) * 1000000 + us;
	return 0;
}

/* "Nov" as 11. */
static int
timefmt_month(const char **p)
{
	for (int m = 0; m < 12; m++) {
		if (strncmp(*p, timefmt_months + m * 3, 3) == 0) {
			*p += 3;
			return m + 1;
		}
	}
	return -1;
}

/* Step over a day's name, whole or its first three letters. */
static bool
timefmt_weekday(const char **p, bool whole)
{
	for (int d = 0; d < 7; d++) {
		size_t n = whole ? strlen(timefmt_days[d]) : 3;
		if (strncmp(*p, timefmt_days[d], n) == 0) {
			*p += n;
			return true;
		}
	}
	return false;
}

/* "Sun, 06 Nov 1994 08:49:37 GMT" */
static bool
timefmt_imf(const char *p, struct timefmt_civil *c)
{
	if (!timefmt_weekday(&p, false) || !timefmt_char(&p, ',') ||
	    !timefmt_char(&p, ' '))
		return false;
	c->day = timefmt_number(&p, 2);
	if (c->day < 0 || !timefmt_char(&p, ' '))
		return false;
	c->month = timefmt_month(&p);
	if (c->month < 0 || !timefmt_char(&p, ' '))
		return false;
	c->year = timefmt_number(&p, 4);
	return c->year >= 0 && timefmt_char(&p, ' ') &&
	    timefmt_clock(&p, c) && strcmp(p, " GMT") == 0;
}

/* "Sunday, 06-Nov-94 08:49:37 GMT" */
static bool
timefmt_rfc850(const char *p, struct timefmt_civil *c)
{
	if (!timefmt_weekday(&p, true) || !timefmt_char(&p, ',') ||
	    !timefmt_char(&p, ' '))
		return false;
	c->day = timefmt_number(&p, 2);
	if (c->day < 0 || !timefmt_char(&p, '-'))
		return false;
	c->month = timefmt_month(&p);
	if (c->month < 0 || !timefmt_char(&p, '-'))
		return false;
	c->year = timefmt_number(&p, 2);
	if (c->year < 0)
		return false;
	/* No server of the 20th century is meant. */
	c->year += c->year < 70 ? 2000 : 1900;
	return timefmt_char(&p, ' ') && timefmt_clock(&p, c) &&
	    strcmp(p, " GMT") == 0;
}

/* "Sun Nov  6 08:49:37 1994" */
static bool
timefmt_asctime(const char *p, struct timefmt_civil *c)
{
	if (!timefmt_weekday(&p, false) || !timefmt_char(&p, ' '))
		return false;
	c->month = timefmt_month(&p);
	if (c->month < 0 || !timefmt_char(&p, ' '))
		return false;
	c->day = timefmt_number(&p, *p == ' ' ? (p++, 1) : 2);
	if (c->day < 0 || !timefmt_char(&p, ' ') || !timefmt_clock(&p, c) ||
	    !timefmt_char(&p, ' '))
		return false;
	c->year = timefmt_number(&p, 4);
	return c->year >= 0 && *p == '\0';
}

int
timefmt_parse_http_date(const char *s, struct wall *ret)
{
	struct timefmt_civil c;
	int64_t sec;

	if (!timefmt_imf(s, &c) && !timefmt_rfc850(s, &c) &&
	    !timefmt_asctime(s, &c))
		return -EINVAL;
	if (!timefmt_resolve(&c, &sec))
		return -EINVAL;
	ret->us = sec * 1000000;
	return 0;
}

/* delay-seconds: digits only, of any number. */
static bool
timefmt_delay(const char *s, int64_t max_ms, int64_t *ret_ms)
{
	int64_t sec = 0;

	if (*s == '\0')
		return false;
	for (; *s >= '0' && *s <= '9'; s++)
		if (sec <= max_ms / 1000)	/* beyond it any number is max */
			sec = sec * 10 + (*s - '0');
	if (*s != '\0')
		return false;
	*ret_ms = sec > max_ms / 1000 ? max_ms : sec * 1000;
	return true;
}

int
timefmt_parse_retry_after(const char *s, struct wall now, int64_t max_ms,
    int64_t *ret_ms)
{
	char text[64];
	struct wall t;

	s += strspn(s, " \t");
	size_t n = strlen(s);
	while (n > 0 && (s[n - 1] == ' ' || s[n - 1] == '\t'))
		n--;
	if (n >= sizeof text)
		return -EINVAL;
	memcpy(text, s, n);
	text[n] = '\0';
	if (timefmt_delay(text, max_ms, ret_ms))
		return 0;
	int r = timefmt_parse_http_date(text, &t);
	if (r < 0)
		return r;
	int64_t ms = (t.us - now.us) / 1000;
	*ret_ms = ms < 0 ? 0 : ms > max_ms ? max_ms : ms;
	return 0;
}
