# The few build verbs the folders share.

# Flags of the whole build: warnings are errors, sanitizers if asked for, frame pointers always (profiles stay readable).
macro(promsplit_flags)
  add_compile_definitions(_GNU_SOURCE PROMSPLIT_VERSION="${PROJECT_VERSION}")
  add_compile_options(-fno-omit-frame-pointer -fno-math-errno -ffp-contract=off)
  if(PROMSPLIT_SANITIZE)
    add_compile_options(-fsanitize=${PROMSPLIT_SANITIZE} -fno-sanitize-recover=all)
    add_link_options(-fsanitize=${PROMSPLIT_SANITIZE})
    if(PROMSPLIT_SANITIZE MATCHES "address")
      add_compile_definitions(PROMSPLIT_ARENA_MALLOC=1) # one malloc per arena allocation, so ASan sees overruns
    endif()
  endif()
  if(PROMSPLIT_FUZZ)
    add_compile_options(-fsanitize=fuzzer-no-link)
  endif()
endmacro()

set(PROMSPLIT_WARNINGS -Wall -Wextra -Werror -Wshadow -Wpointer-arith -Wstrict-prototypes -Wmissing-prototypes
    -Wwrite-strings -Wvla -Wundef -Wformat=2 -Wno-unused-parameter)

# promsplit_library(NAME SOURCES a.c … [LINKS lib …] [GENERATED g.c …])
# GENERATED sources are compiled without our warnings.
function(promsplit_library name)
  cmake_parse_arguments(L "" "" "SOURCES;LINKS;GENERATED" ${ARGN})
  add_library(ps_${name} STATIC ${L_SOURCES} ${L_GENERATED})
  target_include_directories(ps_${name} PUBLIC ${CMAKE_SOURCE_DIR} ${CMAKE_BINARY_DIR})
  target_link_libraries(ps_${name} PUBLIC ${L_LINKS})
  set_source_files_properties(${L_SOURCES} PROPERTIES COMPILE_OPTIONS "${PROMSPLIT_WARNINGS}")
  if(L_GENERATED)
    set_source_files_properties(${L_GENERATED} PROPERTIES COMPILE_OPTIONS "-w")
  endif()
endfunction()

# promsplit_test(NAME SOURCES a.c … LINKS lib … [LABELS l …]): one cmocka program, one ctest entry.
function(promsplit_test name)
  cmake_parse_arguments(T "" "" "SOURCES;LINKS;LABELS" ${ARGN})
  add_executable(${name} ${T_SOURCES})
  target_compile_options(${name} PRIVATE ${PROMSPLIT_WARNINGS})
  target_compile_definitions(${name} PRIVATE TEST_SOURCE_DIR="${CMAKE_SOURCE_DIR}/tests")
  target_link_libraries(${name} PRIVATE ${T_LINKS} cmocka)
  add_test(NAME ${name} COMMAND ${name} WORKING_DIRECTORY ${CMAKE_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES LABELS "unit;${T_LABELS}" TIMEOUT 300 ENVIRONMENT
                                              "TSAN_OPTIONS=suppressions=${CMAKE_SOURCE_DIR}/tests/tsan.supp")
endfunction()

# promsplit_fuzz(NAME SOURCES a.c LINKS lib …): a libFuzzer program with PROMSPLIT_FUZZ; else it is only compiled, so
# that it keeps up with what it calls.
function(promsplit_fuzz name)
  cmake_parse_arguments(F "" "" "SOURCES;LINKS" ${ARGN})
  if(PROMSPLIT_FUZZ)
    add_executable(${name} ${F_SOURCES})
    target_compile_options(${name} PRIVATE ${PROMSPLIT_WARNINGS})
    target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  else()
    add_library(${name} OBJECT ${F_SOURCES})
    target_compile_options(${name} PRIVATE ${PROMSPLIT_WARNINGS})
  endif()
  target_link_libraries(${name} PRIVATE ${F_LINKS})
endfunction()
