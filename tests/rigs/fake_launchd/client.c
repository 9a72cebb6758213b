/* A program of the Mac that is not there: hands its name and arguments to the fake launchd's
   process, prints what comes back and ends with its exit code. In C, because it is run a thousand
   times. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void put(FILE *request, const char *text) {
    fwrite(text, 1, strlen(text) + 1, request);
}

int main(int argc, char **argv) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char folder[4096], reply[65536];
    if (argc < 3 || getcwd(folder, sizeof folder) == NULL) return 70;
    strncpy(address.sun_path, argv[1], sizeof address.sun_path - 1);
    int connection = socket(AF_UNIX, SOCK_STREAM, 0);
    if (connect(connection, (struct sockaddr *)&address, sizeof address) != 0) {
        perror(argv[1]);
        return 70;
    }
    FILE *request = fdopen(dup(connection), "w");
    if (request == NULL) return 70;
    for (int i = 2; i < argc; i++) {
        size_t length = strlen(argv[i]);
        /* launchctl resolves paths in the caller's folder. */
        if (argv[i][0] != '/' && length > 6 && strcmp(argv[i] + length - 6, ".plist") == 0)
            fprintf(request, "%s/", folder);
        put(request, argv[i]);
    }
    fclose(request);
    shutdown(connection, SHUT_WR);
    size_t n = 0;
    for (ssize_t got; (got = read(connection, reply + n, sizeof reply - 1 - n)) > 0;) n += (size_t)got;
    reply[n] = '\0';
    /* The exit code, the output and the errors, each with a NUL behind it. */
    const char *end = reply + n, *out = reply + strlen(reply) + 1;
    if (out >= end) return 70;
    const char *err = out + strlen(out) + 1;
    if (err >= end) return 70;
    fputs(out, stdout);
    fputs(err, stderr);
    return atoi(reply);
}
