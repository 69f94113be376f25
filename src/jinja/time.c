/* time.c - strftime_now(), always in the C locale. */
#define _POSIX_C_SOURCE 200809L
#include "jinja/jinja.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

typedef struct {
    int year, month, day, hour, minute, second, micro;
    int weekday, yearday; /* 0 is Sunday; 0 is January 1st */
} jtime;

static const char *const weekdays[] = {"Sunday",   "Monday", "Tuesday", "Wednesday",
                                       "Thursday", "Friday", "Saturday"};
static const char *const months[] = {"January", "February", "March",     "April",   "May",      "June",
                                     "July",    "August",   "September", "October", "November", "December"};

static bool leap(int year) { return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0; }

static int days_before(int year, int month) {
    static const int days[] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
    return days[month - 1] + (month > 2 && leap(year));
}

/* Days since 1970-01-01 in the proleptic Gregorian calendar. */
static long days_since_epoch(const jtime *t) {
    const long y = t->year - 1;
    return y * 365 + y / 4 - y / 100 + y / 400 - 719162 + days_before(t->year, t->month) + t->day - 1;
}

static void complete(jtime *t) {
    t->yearday = days_before(t->year, t->month) + t->day - 1;
    t->weekday = (int)(((days_since_epoch(t) + 4) % 7 + 7) % 7);
}

/* Parse "2025-07-08", optionally with "T12:00", seconds and a fraction. */
static bool parse_now(const char *s, jtime *t) {
    static const int month_days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    char sep = 'T', tail[8] = "";
    int used = 0;
    *t = (jtime){0};
    const int n = sscanf(s, "%4d-%2d-%2d%n%c%2d:%2d%n:%2d%n", &t->year, &t->month, &t->day, &used, &sep,
                         &t->hour, &t->minute, &used, &t->second, &used);
    if (n != 3 && n != 6 && n != 7) return false;
    if (s[used] == '.' && n == 7) {
        int digits = 0;
        for (used++; s[used] >= '0' && s[used] <= '9' && digits < 6; used++) tail[digits++] = s[used];
        while (digits < 6) tail[digits++] = '0';
        if (sscanf(tail, "%6d", &t->micro) != 1) return false;
    }
    if (s[used] || (sep != 'T' && sep != ' ')) return false;
    if (t->year < 1 || t->month < 1 || t->month > 12 || t->day < 1 || t->hour < 0 || t->hour > 23 ||
        t->minute < 0 || t->minute > 59 || t->second < 0 || t->second > 59)
        return false;
    return t->day <= month_days[t->month - 1] + (t->month == 2 && leap(t->year));
}

bool glia_j_check_now(const char *now) {
    jtime t;
    return parse_now(now, &t);
}

static jtime get_now(const jrt *rt) {
    jtime t;
    if (rt->now && parse_now(rt->now, &t)) return t;
    struct timespec ts;
    struct tm tm;
    clock_gettime(CLOCK_REALTIME, &ts);
    localtime_r(&ts.tv_sec, &tm);
    return (jtime){.year = tm.tm_year + 1900,
                   .month = tm.tm_mon + 1,
                   .day = tm.tm_mday,
                   .hour = tm.tm_hour,
                   .minute = tm.tm_min,
                   .second = tm.tm_sec,
                   .micro = (int)(ts.tv_nsec / 1000)};
}

/* The week of ISO 8601: weeks begin on Monday, and week 1 has the year's first Thursday. */
static int iso_week(const jtime *t, int *year) {
    const int monday = (t->weekday + 6) % 7; /* 0 is Monday */
    int week = (t->yearday - monday + 10) / 7;
    *year = t->year;
    if (week < 1) {
        --*year;
        const int last_days = 365 + leap(*year);
        week = (t->yearday + last_days - monday + 10) / 7;
    } else if (week == 53 && t->yearday - monday + 3 >= 365 + leap(t->year)) {
        ++*year;
        week = 1;
    }
    return week;
}

static void put(jrt *rt, jtext *out, const jtime *t, char c);

static void put_all(jrt *rt, jtext *out, const jtime *t, const char *codes) {
    for (; *codes; codes++) {
        if (*codes >= 'A')
            put(rt, out, t, *codes);
        else
            glia_j_putc(rt, out, *codes);
    }
}

static void put_number(jrt *rt, jtext *out, const jtime *t, char c) {
    const int hour12 = t->hour % 12 ? t->hour % 12 : 12;
    int iso_year;
    const int week = iso_week(t, &iso_year);
    switch (c) {
    case 'd': glia_j_printf(rt, out, "%02d", t->day); break;
    case 'e': glia_j_printf(rt, out, "%2d", t->day); break;
    case 'm': glia_j_printf(rt, out, "%02d", t->month); break;
    case 'y': glia_j_printf(rt, out, "%02d", t->year % 100); break;
    case 'Y': glia_j_printf(rt, out, "%d", t->year); break;
    case 'C': glia_j_printf(rt, out, "%02d", t->year / 100); break;
    case 'H': glia_j_printf(rt, out, "%02d", t->hour); break;
    case 'k': glia_j_printf(rt, out, "%2d", t->hour); break;
    case 'I': glia_j_printf(rt, out, "%02d", hour12); break;
    case 'l': glia_j_printf(rt, out, "%2d", hour12); break;
    case 'M': glia_j_printf(rt, out, "%02d", t->minute); break;
    case 'S': glia_j_printf(rt, out, "%02d", t->second); break;
    case 'f': glia_j_printf(rt, out, "%06d", t->micro); break;
    case 'j': glia_j_printf(rt, out, "%03d", t->yearday + 1); break;
    case 'w': glia_j_printf(rt, out, "%d", t->weekday); break;
    case 'u': glia_j_printf(rt, out, "%d", t->weekday ? t->weekday : 7); break;
    case 'U': glia_j_printf(rt, out, "%02d", (t->yearday + 7 - t->weekday) / 7); break;
    case 'W': glia_j_printf(rt, out, "%02d", (t->yearday + 7 - (t->weekday + 6) % 7) / 7); break;
    case 'V': glia_j_printf(rt, out, "%02d", week); break;
    case 'G': glia_j_printf(rt, out, "%d", iso_year); break;
    default: glia_j_printf(rt, out, "%02d", iso_year % 100); break; /* g */
    }
}

static void put(jrt *rt, jtext *out, const jtime *t, char c) {
    switch (c) {
    case 'a': glia_j_printf(rt, out, "%.3s", weekdays[t->weekday]); break;
    case 'A': glia_j_puts(rt, out, weekdays[t->weekday]); break;
    case 'b':
    case 'h': glia_j_printf(rt, out, "%.3s", months[t->month - 1]); break;
    case 'B': glia_j_puts(rt, out, months[t->month - 1]); break;
    case 'p': glia_j_puts(rt, out, t->hour < 12 ? "AM" : "PM"); break;
    case 'P': glia_j_puts(rt, out, t->hour < 12 ? "am" : "pm"); break;
    case 'c': put_all(rt, out, t, "a b e H:M:S Y"); break;
    case 'x':
    case 'D': put_all(rt, out, t, "m/d/y"); break;
    case 'X':
    case 'T': put_all(rt, out, t, "H:M:S"); break;
    case 'F': put_all(rt, out, t, "Y-m-d"); break;
    case 'R': put_all(rt, out, t, "H:M"); break;
    case 'r': put_all(rt, out, t, "I:M:S p"); break;
    case 's': /* treats the time as UTC */
        glia_j_printf(rt, out, "%ld",
                      days_since_epoch(t) * 86400 + t->hour * 3600L + t->minute * 60L + t->second);
        break;
    case 'n': glia_j_putc(rt, out, '\n'); break;
    case 't': glia_j_putc(rt, out, '\t'); break;
    case '%': glia_j_putc(rt, out, '%'); break;
    case 'z': /* datetime.now() has no zone, so both are empty */
    case 'Z': break;
    default:
        if (strchr("demyYCHkIlMSfjwuUWVGg", c)) {
            put_number(rt, out, t, c);
        } else { /* glibc copies an unknown code */
            glia_j_putc(rt, out, '%');
            glia_j_putc(rt, out, c);
        }
    }
}

jval glia_j_strftime(jrt *rt, const jstr *format) {
    jtime t = get_now(rt);
    jtext out = {0};
    complete(&t);
    for (size_t i = 0; i < format->n; i++) {
        if (format->p[i] != '%' || i + 1 == format->n) {
            glia_j_putc(rt, &out, format->p[i]);
            continue;
        }
        char c = format->p[++i];
        const bool unpadded = c == '-' && i + 1 < format->n; /* glibc's %-d */
        if (unpadded) c = format->p[++i];
        const size_t from = out.n;
        if (unpadded && !(c && strchr("aAbhBpPcxDXTFRrsnt%zZdemyYCHkIlMSfjwuUWVGg", c))) {
            glia_j_puts(rt, &out, "%-");
            glia_j_putc(rt, &out, c);
            continue;
        }
        put(rt, &out, &t, c ? c : '%');
        if (unpadded && c && strchr("demCHkIlMSjUWVyg", c)) {
            while (out.n - from > 1 && (out.data[from] == '0' || out.data[from] == ' ')) {
                memmove(out.data + from, out.data + from + 1, out.n - from - 1);
                out.n--;
            }
        }
    }
    return glia_j_text(rt, &out);
}
