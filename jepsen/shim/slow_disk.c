/* Starts a program whose fdatasync calls obey a file: `ok`, `delay MILLISECONDS`, `hang` (until the
 * file says something else) or `fail` (EIO). It needs no privilege: a seccomp filter hands each call
 * to a supervisor, which is forked before the filter is installed and ends with the program.
 *
 *     slow_disk CONTROL_FILE PROGRAM ARGUMENT...
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

static int die(const char *what) {
    perror(what);
    return 1;
}

/* One descriptor through a socket (unix(7), SCM_RIGHTS). */
static int pass(int socket, int *descriptor, int sending) {
    char byte = 0;
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int))];
    } control;
    struct iovec data = {&byte, 1};
    struct msghdr message = {.msg_iov = &data, .msg_iovlen = 1,
        .msg_control = control.bytes, .msg_controllen = sizeof control.bytes};
    memset(&control, 0, sizeof control);
    if (sending) {
        struct cmsghdr *head = CMSG_FIRSTHDR(&message);
        head->cmsg_level = SOL_SOCKET;
        head->cmsg_type = SCM_RIGHTS;
        head->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(head), descriptor, sizeof(int));
        return sendmsg(socket, &message, 0) == 1;
    }
    if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != 1 || !CMSG_FIRSTHDR(&message)) return 0;
    memcpy(descriptor, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
    return 1;
}

/* What the file says now; the answer is 0 or an errno for the caller. */
static int obey(const char *file) {
    for (;;) {
        char text[64] = {0};
        int opened = open(file, O_RDONLY | O_CLOEXEC);
        if (opened < 0 || read(opened, text, sizeof text - 1) < 0) text[0] = 0;
        if (opened >= 0) close(opened);
        if (!strncmp(text, "delay ", 6)) return usleep(1000 * (unsigned)atoi(text + 6)), 0;
        if (!strncmp(text, "fail", 4)) return EIO;
        if (strncmp(text, "hang", 4)) return 0;
        usleep(5000);
    }
}

static int supervise(int listener, const char *file) {
    for (;;) {
        struct pollfd waiting = {listener, POLLIN, 0};
        if (poll(&waiting, 1, -1) < 0 && errno != EINTR) return 1;
        if (waiting.revents & (POLLHUP | POLLERR)) return 0;
        struct seccomp_notif call;
        struct seccomp_notif_resp answer;
        memset(&call, 0, sizeof call);
        memset(&answer, 0, sizeof answer);
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &call)) continue;
        answer.id = call.id;
        answer.error = -obey(file);
        if (!answer.error) answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
        ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
    }
}

int main(int count, char **arguments) {
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fdatasync, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {sizeof code / sizeof *code, code};
    int sockets[2], listener = -1;
    if (count < 3) return fprintf(stderr, "slow_disk CONTROL_FILE PROGRAM ARGUMENT...\n"), 2;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets)) return die("socketpair");
    pid_t supervisor = fork();
    if (supervisor < 0) return die("fork");
    if (!supervisor) {
        close(sockets[1]);
        if (!pass(sockets[0], &listener, 0)) return die("no listener");
        return supervise(listener, arguments[1]);
    }
    close(sockets[0]);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)) return die("no_new_privs");
    listener = (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER,
        SECCOMP_FILTER_FLAG_NEW_LISTENER, &program);
    if (listener < 0) return die("seccomp");
    if (!pass(sockets[1], &listener, 1)) return die("sendmsg");
    close(listener);
    execv(arguments[2], arguments + 2);
    return die(arguments[2]);
}
