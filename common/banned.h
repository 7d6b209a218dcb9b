/* common/banned.h - calls that have no safe use here (STYLE 2.6). Included by every .c file after its last header. */
#ifndef MCP_COMMON_BANNED_H
#define MCP_COMMON_BANNED_H

#pragma GCC poison strcpy strcat strncpy strncat sprintf vsprintf gets strtok atoi atol atoll gmtime localtime ctime asctime rand srand tmpnam system popen

#endif
