/* The program of VoiceDaemon.app: what launchd starts, and what macOS grants the microphone to.

   It starts the one command that is sealed in the app, Contents/Resources/command, as its child,
   and stays the child's parent: macOS charges what a child does to its responsible process, which
   is this program, as Terminal is charged for what is typed in it. Python and the daemon may then
   be replaced as often as they like; this program, its signature and the permission stay.

   - SIGTERM, SIGHUP, SIGINT, SIGUSR1 and SIGUSR2 are passed on. The child starts with them
     blocked, and unblocks them when its handlers stand: one that comes while Python is still
     loading waits for it instead of killing it or being lost.
   - The child's exit code is returned; 128 + the signal where a signal ended it.
   - The child is given the read end of a pipe as PARENT_PIPE, and nobody but this program has the
     write end. However this program ends, by SIGKILL too, the child reads the end of the file and
     ends itself. That needs no third process, and works before the child has begun to look.
   - Arguments are not passed on: the app is no free pass to the microphone. `--show` prints the
     command, which proves that this program may run here.

   scripts/make-launcher builds it. Any other byte is another signature, and the permission is
   asked for anew: change it only for a reason that is worth that. */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __APPLE__
#include <mach-o/dyld.h>
#endif

enum {
    PARENT_PIPE = 3,
    MAX_COMMAND_BYTES = 16384,
    MAX_ARGUMENTS = 32,
    CANNOT_START = 127, /* as shells have it */
};

static const int PASSED_ON[] = {SIGTERM, SIGHUP, SIGINT, SIGUSR1, SIGUSR2};
#define N_PASSED_ON (sizeof PASSED_ON / sizeof PASSED_ON[0])

static void fail(const char *what, const char *which) {
    fprintf(stderr, "voice-daemon: %s %s: %s\n  -> run `daemonctl install`\n", what, which,
            strerror(errno));
    _exit(CANNOT_START);
}

/* Path of this program, with every symbolic link followed: a link to it from elsewhere must not
   lead it to another command. */
static void find_program(char path[PATH_MAX]) {
#ifdef __APPLE__
    char started[PATH_MAX];
    uint32_t size = sizeof started;
    if (_NSGetExecutablePath(started, &size) != 0) {
        errno = ENAMETOOLONG;
        fail("cannot find", "its own program");
    }
#else
    const char *started = "/proc/self/exe";
#endif
    if (realpath(started, path) == NULL) fail("cannot find", "its own program");
}

/* Path of the command: this program is Contents/MacOS/NAME. */
static void find_command(char path[PATH_MAX]) {
    static const char COMMAND[] = "/Resources/command";
    find_program(path);
    for (int level = 0; level < 2; level++) {
        char *slash = strrchr(path, '/');
        if (slash != NULL) *slash = '\0';
    }
    if (strlen(path) + sizeof COMMAND > PATH_MAX) {
        errno = ENAMETOOLONG;
        fail("cannot read", COMMAND);
    }
    strcat(path, COMMAND);
}

/* The command's arguments, each ended by a NUL, as in /proc/PID/cmdline: any path can be told. */
static char **read_command(void) {
    static char text[MAX_COMMAND_BYTES];
    static char *arguments[MAX_ARGUMENTS + 1];
    char path[PATH_MAX];
    find_command(path);
    int file = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = file < 0 ? -1 : read(file, text, sizeof text);
    if (length < 0) fail("cannot read", path);
    close(file);
    size_t n = 0;
    for (char *next = text; next < text + length && n < MAX_ARGUMENTS; n++) {
        arguments[n] = next;
        next = memchr(next, '\0', (size_t)(text + length - next));
        if (next == NULL) break;
        next++;
    }
    int whole = length > 0 && length < MAX_COMMAND_BYTES && text[length - 1] == '\0';
    if (!whole || n == MAX_ARGUMENTS || text[0] != '/') {
        errno = EINVAL;
        fail("cannot use", path);
    }
    return arguments;
}

static void note(int number) { (void)number; }

/* Hold back every signal that is waited for. A handler, though it is never called: the kernel of
   macOS drops a signal that would be ignored, SIGCHLD among them, even while it is blocked. */
static void hold_signals(sigset_t *passed_on, sigset_t *waited_for) {
    struct sigaction action = {.sa_handler = note};
    sigemptyset(&action.sa_mask);
    sigemptyset(passed_on);
    for (size_t i = 0; i < N_PASSED_ON; i++) sigaddset(passed_on, PASSED_ON[i]);
    *waited_for = *passed_on;
    sigaddset(waited_for, SIGCHLD);
    sigprocmask(SIG_BLOCK, waited_for, NULL);
    for (size_t i = 0; i < N_PASSED_ON; i++) sigaction(PASSED_ON[i], &action, NULL);
    sigaction(SIGCHLD, &action, NULL);
}

/* In the child: become the command. Handlers fall back to the default by execv, the mask stays. */
static void become(char **arguments, const int ends[2], const sigset_t *passed_on) {
    close(ends[1]);
    if (ends[0] == PARENT_PIPE) {
        fcntl(PARENT_PIPE, F_SETFD, 0);
    } else if (dup2(ends[0], PARENT_PIPE) < 0) {
        fail("cannot pass on", "its pipe");
    }
    sigprocmask(SIG_SETMASK, passed_on, NULL);
    execv(arguments[0], arguments);
    fail("cannot start", arguments[0]);
}

/* Pass signals on until the child has ended; give the exit code that tells how. */
static int wait_for(pid_t child, const sigset_t *waited_for) {
    for (;;) {
        int number = 0, status = 0;
        if (sigwait(waited_for, &number) != 0) continue;
        if (number != SIGCHLD) {
            kill(child, number);
        } else if (waitpid(child, &status, WNOHANG) == child) {
            return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
        }
    }
}

int main(int argc, char **argv) {
    sigset_t passed_on, waited_for;
    hold_signals(&passed_on, &waited_for);
    char **arguments = read_command();
    if (argc == 2 && strcmp(argv[1], "--show") == 0) {
        for (char **argument = arguments; *argument != NULL; argument++) puts(*argument);
        return 0;
    }
    int ends[2];
    if (pipe(ends) != 0) fail("cannot make", "a pipe");
    fcntl(ends[0], F_SETFD, FD_CLOEXEC);
    fcntl(ends[1], F_SETFD, FD_CLOEXEC);
    pid_t child = fork();
    if (child < 0) fail("cannot start", arguments[0]);
    if (child == 0) become(arguments, ends, &passed_on);
    close(ends[0]);
    return wait_for(child, &waited_for);
}
