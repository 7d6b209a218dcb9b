// A module in C++. No exception may leave a handler: what calls it is C.
#include <cctype>
#include <exception>
#include <map>
#include <stdexcept>
#include <string>

#include <mcp-fcgi/module.h>

namespace {

int count_words(mcp_call *call)
{
	std::size_t len = 0;
	const char *text = mcp_get(call, "/arguments/text", &len);
	std::map<std::string, int> counts;
	std::string word;

	for (std::size_t i = 0; i <= len; i++) {
		unsigned char c = i < len ? static_cast<unsigned char>(text[i]) : ' ';
		if (std::isalpha(c) || c >= 0x80) {
			word += static_cast<char>(std::tolower(c));
		} else if (!word.empty()) {
			counts[word]++;
			word.clear();
		}
	}
	if (counts.empty())
		throw std::runtime_error("there is no word in it");
	for (const auto &entry : counts)
		mcp_print(call, "%s %d\n", entry.first.c_str(), entry.second);
	return MCP_OK;
}

template <int (*handler)(mcp_call *)> int guarded(mcp_call *call)
{
	try {
		return handler(call);
	} catch (const std::exception &e) {
		mcp_print(call, "%s", e.what());
		return MCP_FAILED;
	}
}

const mcp_tool tools[] = {
	{"count_words", "Counts each word of a text", R"({"text": {"type": "string"}})", guarded<count_words>, nullptr},
	{nullptr, nullptr, nullptr, nullptr, nullptr},
};

} // namespace

const mcp_module mcp_fcgi_module = {MCP_MODULE_HEAD, tools, nullptr, nullptr, nullptr, nullptr};
