/* Asks libseccomp what it makes of profiles, for tests/seccomp_against_libseccomp.rs.
 *
 * Reads lines, answers each that asks something with one line:
 *   number ARCH NAME            -> the number, negative where that architecture has no such call
 *   name ARCH NUMBER            -> the name, or "-"
 *   new DEFAULT                    begins a filter
 *   arch ARCH                      adds an architecture
 *   rule ACTION NAME N (ARG OP A B)*N
 *                               -> 0 or a negative errno, as runc adds rules; "-" where the name is unknown
 *   program OPTIMIZE            -> the program in hexadecimal
 */
#define _GNU_SOURCE
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void program(scmp_filter_ctx filter, int optimize)
{
	unsigned char bytes[1 << 16];
	int fd = memfd_create("program", 0);
	ssize_t length;

	seccomp_attr_set(filter, SCMP_FLTATR_CTL_OPTIMIZE, optimize);
	if (seccomp_export_bpf(filter, fd))
		exit(3);
	length = pread(fd, bytes, sizeof(bytes), 0);
	close(fd);
	for (ssize_t at = 0; at < length; at++)
		printf("%02x", bytes[at]);
	printf("\n");
}

int main(void)
{
	scmp_filter_ctx filter = NULL;
	char verb[16], name[64];
	unsigned int word, count;

	while (scanf("%15s", verb) == 1) {
		if (!strcmp(verb, "number") && scanf("%x %63s", &word, name) == 2) {
			printf("%d\n", seccomp_syscall_resolve_name_arch(word, name));
		} else if (!strcmp(verb, "name") && scanf("%x %u", &word, &count) == 2) {
			char *found = seccomp_syscall_resolve_num_arch(word, count);
			printf("%s\n", found ? found : "-");
			free(found);
		} else if (!strcmp(verb, "new") && scanf("%x", &word) == 1) {
			if (filter)
				seccomp_release(filter);
			filter = seccomp_init(word);
		} else if (!strcmp(verb, "arch") && scanf("%x", &word) == 1) {
			int rc = seccomp_arch_add(filter, word);
			if (rc && rc != -17)
				return 2;
		} else if (!strcmp(verb, "rule") && scanf("%x %63s %u", &word, name, &count) == 3 && count <= 6) {
			struct scmp_arg_cmp args[6];
			for (unsigned int at = 0; at < count; at++) {
				unsigned int arg, op;
				unsigned long long a, b;
				if (scanf("%u %u %llx %llx", &arg, &op, &a, &b) != 4)
					return 2;
				args[at] = (struct scmp_arg_cmp){ arg, op, a, b };
			}
			int number = seccomp_syscall_resolve_name(name);
			if (number == __NR_SCMP_ERROR)
				printf("-\n");
			else
				printf("%d\n", seccomp_rule_add_array(filter, word, number, count, args));
		} else if (!strcmp(verb, "program") && scanf("%u", &count) == 1) {
			program(filter, count);
		} else {
			return 2;
		}
		fflush(stdout);
	}
	return 0;
}
