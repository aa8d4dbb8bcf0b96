# Finds libduckdb and its header: DuckDB::DuckDB, DUCKDB_LIBRARY, DUCKDB_INCLUDE_DIR, DuckDB_VERSION.
#
# An installed library is taken when its version is of the tested line (1.4, the long-term one); otherwise the copy that
# scripts/setup puts under .deps/duckdb. The version is asked from the library itself, because the header has none.
set(DUCKDB_TESTED_LINE "1.4")

function(duckdb_ask_version library include_dir ret_version)
  set(${ret_version} "" PARENT_SCOPE)
  set(probe ${CMAKE_BINARY_DIR}/CMakeFiles/duckdb_version)
  file(WRITE ${probe}/version.c
       "#include <stdio.h>\n#include <duckdb.h>\nint main(void) { return puts(duckdb_library_version()) < 0; }\n")
  get_filename_component(library_dir ${library} DIRECTORY)
  execute_process(
    COMMAND ${CMAKE_C_COMPILER} -I${include_dir} ${probe}/version.c ${library} -Wl,-rpath,${library_dir} -o
            ${probe}/version RESULT_VARIABLE failed OUTPUT_QUIET ERROR_QUIET)
  if(NOT failed)
    execute_process(COMMAND ${probe}/version RESULT_VARIABLE failed OUTPUT_VARIABLE version ERROR_QUIET
                    OUTPUT_STRIP_TRAILING_WHITESPACE)
    if(NOT failed)
      string(REGEX REPLACE "^v" "" version "${version}")
      set(${ret_version} "${version}" PARENT_SCOPE)
    endif()
  endif()
endfunction()

if(NOT DUCKDB_LIBRARY OR NOT EXISTS "${DUCKDB_LIBRARY}" OR NOT DuckDB_VERSION)
  foreach(hints "" "${CMAKE_SOURCE_DIR}/.deps/duckdb")
    unset(DUCKDB_LIBRARY CACHE)
    unset(DUCKDB_INCLUDE_DIR CACHE)
    if(hints)
      find_library(DUCKDB_LIBRARY duckdb PATHS ${hints}/lib NO_DEFAULT_PATH)
      find_path(DUCKDB_INCLUDE_DIR duckdb.h PATHS ${hints}/include NO_DEFAULT_PATH)
    else()
      find_library(DUCKDB_LIBRARY duckdb)
      find_path(DUCKDB_INCLUDE_DIR duckdb.h)
    endif()
    if(DUCKDB_LIBRARY AND DUCKDB_INCLUDE_DIR)
      duckdb_ask_version(${DUCKDB_LIBRARY} ${DUCKDB_INCLUDE_DIR} version)
      string(REPLACE "." "\\." line "${DUCKDB_TESTED_LINE}")
      if(version MATCHES "^${line}\\.")
        set(DuckDB_VERSION ${version} CACHE INTERNAL "version of the libduckdb in use")
        break()
      endif()
      message(STATUS "libduckdb ${version} at ${DUCKDB_LIBRARY} is not of the tested line ${DUCKDB_TESTED_LINE}")
      unset(DUCKDB_LIBRARY CACHE)
    endif()
  endforeach()
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(DuckDB REQUIRED_VARS DUCKDB_LIBRARY DUCKDB_INCLUDE_DIR VERSION_VAR DuckDB_VERSION
                                  REASON_FAILURE_MESSAGE "run scripts/setup, which fetches it")
mark_as_advanced(DUCKDB_LIBRARY DUCKDB_INCLUDE_DIR)

if(DuckDB_FOUND AND NOT TARGET DuckDB::DuckDB)
  add_library(DuckDB::DuckDB SHARED IMPORTED GLOBAL)
  set_target_properties(DuckDB::DuckDB PROPERTIES IMPORTED_LOCATION ${DUCKDB_LIBRARY} IMPORTED_SONAME libduckdb.so
                                                  INTERFACE_INCLUDE_DIRECTORIES ${DUCKDB_INCLUDE_DIR})
endif()
