// The name of a kernel from its address, out of the symbol table of the program or library that it lies in:
// dladdr alone does not see kernels of internal linkage, which most are.
#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>
#include <fcntl.h>
#include <link.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <memory>

#include "internal.h"

namespace tandem::simulator {
namespace {

std::string demangled(const char* name) {
  int status = 0;
  const std::unique_ptr<char, decltype(&std::free)> text(abi::__cxa_demangle(name, nullptr, nullptr, &status),
                                                         &std::free);
  return text ? text.get() : name;
}

// A file's bytes in memory, none if it cannot be read. With sanitizers a program has hundreds of megabytes, of which the
// table of symbols is a small part.
class MappedFile {
 public:
  explicit MappedFile(const char* path) {
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0) return;
    struct stat status {};
    if (fstat(file, &status) == 0 && status.st_size > 0) {
      size_ = static_cast<size_t>(status.st_size);
      void* const memory = mmap(nullptr, size_, PROT_READ, MAP_PRIVATE, file, 0);
      if (memory != MAP_FAILED) bytes_ = static_cast<const char*>(memory);
    }
    close(file);
  }
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile() {
    if (bytes_) munmap(const_cast<char*>(bytes_), size_);
  }

  const char* data() const { return bytes_; }
  size_t size() const { return bytes_ ? size_ : 0; }

 private:
  const char* bytes_ = nullptr;
  size_t size_ = 0;
};

// The function at an offset in an ELF file, or an empty text.
std::string symbol_at(const char* path, uintptr_t base, uintptr_t address) {
  const MappedFile bytes(path);
  if (bytes.size() < sizeof(ElfW(Ehdr))) return "";
  const auto& header = *reinterpret_cast<const ElfW(Ehdr)*>(bytes.data());
  const auto* sections = reinterpret_cast<const ElfW(Shdr)*>(bytes.data() + header.e_shoff);
  const uintptr_t value = header.e_type == ET_EXEC ? address : address - base;
  for (int i = 0; i < header.e_shnum; ++i) {
    if (sections[i].sh_type != SHT_SYMTAB) continue;
    const auto* symbols = reinterpret_cast<const ElfW(Sym)*>(bytes.data() + sections[i].sh_offset);
    const char* names = bytes.data() + sections[sections[i].sh_link].sh_offset;
    for (size_t s = 0; s < sections[i].sh_size / sizeof(ElfW(Sym)); ++s)
      if (symbols[s].st_value == value && (symbols[s].st_info & 0xf) == STT_FUNC)
        return demangled(names + symbols[s].st_name);
  }
  return "";
}

}  // namespace

std::string kernel_name(const void* function, const std::type_info& signature) {
  Dl_info info{};
  if (dladdr(function, &info) && info.dli_fname) {
    if (info.dli_saddr == function && info.dli_sname) return demangled(info.dli_sname);
    const auto base = reinterpret_cast<uintptr_t>(info.dli_fbase);
    const auto address = reinterpret_cast<uintptr_t>(function);
    for (const char* path : {info.dli_fname, "/proc/self/exe"}) {
      std::string name = symbol_at(path, base, address);
      if (!name.empty()) return name;
    }
  }
  char address[32];
  std::snprintf(address, sizeof address, "%p", function);
  return demangled(signature.name()) + " at " + address;
}

}  // namespace tandem::simulator
