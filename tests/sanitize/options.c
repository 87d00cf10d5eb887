/* The sanitizers' defaults, built in: the launcher clears the environment they would otherwise come from.
 * Leaks are not looked for, because that needs ptrace, and the launcher ends by _exit or as Python. */
const char *__asan_default_options(void);
const char *__asan_default_options(void)
{
    return "detect_leaks=0:exitcode=99";
}
